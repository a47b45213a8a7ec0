//! Checks what becomes of writes when they are committed early, discarded, or belong to an event that is not done.
//!
//! Field: `do`, one of the words below; `verify` comes last, in a batch after the others are handled. Grants: write
//! `early`, `late`, `discarded`, `kept`, `retried`, `rejected`, `passed`. The keys are missing at first. Of the
//! events, `reject` ends in the dead letters with the reason `this event is rejected`.

use sandbar_sdk::prelude::*;
use sandbar_test_guests::{check_eq, check_error, pass, unknown};

sandbar_sdk::handler!(|event: &Event| pass(event, checks));

fn checks(event: &Event) -> Result<(), Failure> {
    match event.text("do")? {
        "commit" => commit(event),
        "discard" => discard(),
        "retry" => retry(event),
        "reject" => reject(),
        "verify" => verify(),
        what => Err(unknown(what)),
    }
}

/// What is committed early stands although the event is retried; what comes after it does not.
fn commit(event: &Event) -> Result<(), Failure> {
    if event.attempt == 1 {
        cache::add("early", 1)?;
        transaction::commit()?;
        check_eq!(cache::get("early")?.as_deref(), Some(b"1".as_slice()));
        cache::add("late", 1)?;
        return Err(Failure::retry_after(Duration::from_millis(1)));
    }
    check_eq!(cache::get("early")?.as_deref(), Some(b"1".as_slice()));
    check_eq!(cache::get("late")?, None);
    Ok(())
}

/// Nothing is left of what is discarded; what is written afterwards is committed.
fn discard() -> Result<(), Failure> {
    cache::add("discarded", 1)?;
    check_eq!(cache::get("discarded")?.as_deref(), Some(b"1".as_slice()));
    transaction::discard()?;
    check_eq!(cache::get("discarded")?, None);
    cache::add("kept", 1)?;
    check_error!(transaction::for_event("0-0"), Invalid);
    Ok(())
}

/// Writes of an attempt that failed are not there in the next one.
fn retry(event: &Event) -> Result<(), Failure> {
    check_eq!(cache::get("retried")?, None);
    cache::add("retried", 1)?;
    if event.attempt < 3 { Err(Failure::retry_after(Duration::from_millis(1))) } else { Ok(()) }
}

fn reject() -> Result<(), Failure> {
    cache::add("rejected", 1)?;
    Err(Failure::reject("this event is rejected"))
}

fn verify() -> Result<(), Failure> {
    let one = Some(b"1".to_vec());
    check_eq!(cache::get_many(&["early", "kept", "retried"])?, [one.clone(), one.clone(), one]);
    check_eq!(cache::get_many(&["late", "discarded", "rejected"])?, [None, None, None]);
    Ok(())
}
