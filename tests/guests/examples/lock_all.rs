//! Checks what a lock does within a call, and what is left of a guard beyond it.
//!
//! Field: `do`, one of the words below, one event a batch; `keep` comes right before `stale`. Grants: write `lock:*`,
//! `under`, `passed`. Another client holds `lock:foreign`.

use std::sync::Mutex;

use sandbar_sdk::lock::Guard;
use sandbar_sdk::prelude::*;
use sandbar_test_guests::{check, check_eq, check_error, pass, unknown};

const SECOND: Duration = Duration::from_secs(1);

/// A guard that outlives its call.
static KEPT: Mutex<Option<Guard>> = Mutex::new(None);

sandbar_sdk::handler!(|event: &Event| pass(event, checks));

fn checks(event: &Event) -> Result<(), Failure> {
    match event.text("do")? {
        "basics" => basics(),
        "writes" => writes(),
        "bounds" => bounds(),
        "foreign" => foreign(),
        "lost" => lost(),
        "discard" => discard(),
        "keep" => keep(),
        "stale" => stale(),
        what => Err(unknown(what)),
    }
}

fn take(key: &str) -> Result<Guard, Error> {
    lock::acquire(key, SECOND, Duration::ZERO)
}

/// Without writes a lock is given back at once, by `release` and by dropping alike.
fn basics() -> Result<(), Failure> {
    let first = take("lock:a")?;
    let token = first.token();
    check_error!(take("lock:a"), Invalid);
    check!(cache::get("lock:a")?.is_some_and(|value| value.starts_with(token.to_string().as_bytes())));
    first.extend(SECOND * 10)?;
    check!(matches!(cache::ttl("lock:a")?, Remaining::Ms(9_000..=10_000)));
    first.release()?;
    check_eq!(cache::get("lock:a")?, None);
    let second = take("lock:a")?;
    check!(second.token() > token);
    drop(second);
    check_eq!(cache::get("lock:a")?, None);
    Ok(())
}

/// With writes it is kept until they are committed.
fn writes() -> Result<(), Failure> {
    let first = take("lock:w")?;
    let token = first.token();
    cache::add("under", 1)?;
    first.release()?;
    check!(cache::get("lock:w")?.is_some());
    let again = take("lock:w")?;
    check_eq!(again.token(), token);
    drop(again);
    check!(cache::get("lock:w")?.is_some());
    transaction::commit()?;
    check_eq!(cache::get("lock:w")?, None);
    // A guard that is held stays held over a commit.
    let held = take("lock:w")?;
    cache::add("under", 1)?;
    transaction::commit()?;
    check!(cache::get("lock:w")?.is_some());
    held.release()?;
    check_eq!(cache::get("lock:w")?, None);
    Ok(())
}

fn bounds() -> Result<(), Failure> {
    check_error!(lock::acquire("lock:b", Duration::from_millis(99), Duration::ZERO), Invalid);
    check_error!(lock::acquire("lock:b", SECOND * 3601, Duration::ZERO), Invalid);
    check_error!(lock::acquire("lock:b", SECOND, SECOND * 3601), Invalid);
    check_error!(take("not-granted"), Denied);
    check_error!(take("sandbar:schedule:a:b:lock"), Denied);
    check_error!(take(""), Invalid);
    let guards: Vec<Guard> = (0..16).map(|number| take(&format!("lock:b:{number}"))).collect::<Result<_, _>>()?;
    check_error!(take("lock:b:16"), Limit);
    check!(guards.iter().all(|guard| matches!(guard.extend(Duration::from_millis(1)), Err(Error::Invalid(_)))));
    drop(guards);
    take("lock:b:16")?;
    Ok(())
}

fn foreign() -> Result<(), Failure> {
    check!(lock::try_acquire("lock:foreign", SECOND)?.is_none());
    check_error!(lock::acquire("lock:foreign", SECOND, Duration::from_millis(50)), TimedOut);
    Ok(())
}

/// A lock that is lost answers `conflict`, and nothing is committed under it.
fn lost() -> Result<(), Failure> {
    let guard = take("lock:lost")?;
    cache::set("lock:lost", "another client", Expiry::Never)?;
    transaction::commit()?;
    check_error!(guard.extend(SECOND), Conflict);
    cache::add("under", 1)?;
    check_error!(transaction::commit(), Conflict);
    check_error!(guard.release(), Conflict);
    check_eq!(cache::get("lock:lost")?.as_deref(), Some(b"another client".as_slice()));
    Ok(())
}

/// What is forgotten no longer needs its lock.
fn discard() -> Result<(), Failure> {
    let guard = take("lock:d")?;
    cache::add("under", 1)?;
    drop(guard);
    check!(cache::get("lock:d")?.is_some());
    transaction::discard()?;
    check_eq!(cache::get("lock:d")?, None);
    Ok(())
}

fn keep() -> Result<(), Failure> {
    *KEPT.lock()? = Some(take("lock:kept")?);
    Ok(())
}

/// A guard of an earlier call guards nothing.
fn stale() -> Result<(), Failure> {
    let guard = KEPT.lock()?.take().ok_or_else(|| Failure::reject("`keep` comes before this, in the same instance"))?;
    check_eq!(cache::get("lock:kept")?, None);
    let fresh = take("lock:kept")?;
    check!(fresh.token() > guard.token());
    check_error!(guard.extend(SECOND), Conflict);
    check_error!(guard.release(), Conflict);
    fresh.extend(SECOND)?;
    Ok(())
}
