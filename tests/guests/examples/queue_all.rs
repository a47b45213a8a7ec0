//! Checks every function of `queue` over events of a stream, each in a batch of its own.
//!
//! Field: `do`, in this order: `push`, `take`, `taken`, `fail` (rejected, with the reason `this event is rejected`),
//! `back`, `trap` (ends in the dead letters after its last attempt), `survived`; or `seed`, then `poison` again and
//! again. Grants: write `q`, `other`, `passed`; the keys are missing at first.

use sandbar_sdk::prelude::*;
use sandbar_test_guests::{check, check_eq, check_error, pass, unknown};

sandbar_sdk::handler!(|event: &Event| pass(event, checks));

fn checks(event: &Event) -> Result<(), Failure> {
    match event.text("do")? {
        "push" => push(),
        "take" => take(),
        "taken" => taken(),
        "fail" => fail(),
        "back" => back(),
        "trap" => trap(),
        "survived" => survived(),
        "seed" => Ok(queue::push("q", "poison")?),
        "poison" => poison(),
        what => Err(unknown(what)),
    }
}

fn push() -> Result<(), Failure> {
    check_eq!(lengths("q")?, (0, 0, 0, 0));
    check!(queue::peek("q", 10)?.is_empty());
    check!(queue::take("q", 10)?.is_empty());
    queue::push("q", "first")?;
    queue::push("q", "second")?;
    queue::push_json("q", &[1, 2], Push::new().priority(9))?;
    queue::push_with("q", "third", Push::new().deduplicate("3", Duration::from_secs(60)))?;
    queue::push_with("q", "third again", Push::new().deduplicate("3", Duration::from_secs(60)))?;
    queue::push_with("q", "later", Push::new().delay(Duration::from_secs(3600)))?;
    // In the commit, so they are not there yet.
    check_eq!(lengths("q")?, (0, 0, 0, 0));
    let second = Duration::from_secs(1);
    check_error!(queue::push_with("q", "x", Push::new().delay(second * 31_536_001)), Invalid);
    check_error!(queue::push_with("q", "x", Push::new().deduplicate("", second)), Invalid);
    check_error!(queue::push_with("q", "x", Push::new().deduplicate(&"x".repeat(257), second)), Invalid);
    check_error!(queue::push_with("q", "x", Push::new().deduplicate("x", Duration::ZERO)), Invalid);
    check_error!(queue::push_with("q", "x", Push::new().deduplicate("x", second * 604_801)), Invalid);
    check_error!(queue::take("q", 0), Invalid);
    check_error!(queue::peek("q", 1001), Invalid);
    check_error!(queue::push("sandbar:queue:q:ready", "x"), Denied);
    Ok(())
}

fn take() -> Result<(), Failure> {
    check_eq!(lengths("q")?, (4, 1, 0, 0));
    let seen = queue::peek("q", 10)?;
    check_eq!(texts(&seen), ["[1,2]", "first", "second", "third"]);
    check!(seen.last().is_some_and(|job| job.id.is_empty()));
    let jobs = queue::take("q", 2)?;
    check_eq!(texts(&jobs), ["[1,2]", "first"]);
    let [json, first] = jobs.as_slice() else { return Err(Failure::reject("there are two")) };
    check_eq!((json.attempt, json.priority, json.json::<Vec<u8>>()?), (1, 9, vec![1, 2]));
    check!(!first.id.is_empty() && first.id != json.id);
    check_eq!(lengths("q")?, (2, 1, 2, 0));
    let more = queue::take("q", 1)?;
    check_eq!(texts(&more), ["second"]);
    queue::push("other", &first.payload)?;
    // What is committed early is acknowledged with it.
    transaction::commit()?;
    check_eq!(lengths("q")?, (1, 1, 0, 0));
    check_eq!(lengths("other")?, (1, 0, 0, 0));
    check_eq!(texts(&queue::take("q", 5)?), ["third"]);
    Ok(())
}

fn taken() -> Result<(), Failure> {
    check_eq!(lengths("q")?, (0, 1, 0, 0));
    check_eq!(texts(&queue::take("other", 5)?), ["first"]);
    queue::push("q", "again")?;
    Ok(())
}

/// What an event takes that is not done is given back.
fn fail() -> Result<(), Failure> {
    check_eq!(texts(&queue::take("q", 5)?), ["again"]);
    Err(Failure::reject("this event is rejected"))
}

fn back() -> Result<(), Failure> {
    let jobs = given_back()?;
    check_eq!(jobs.first().map(|job| job.attempt), Some(1));
    transaction::discard()?;
    Ok(())
}

#[expect(clippy::panic, reason = "the host has to survive it")]
fn trap() -> Result<(), Failure> {
    given_back()?;
    panic!("this event traps");
}

/// Fails over a job until it is gone.
fn poison() -> Result<(), Failure> {
    check!(queue::take("q", 5)?.is_empty());
    check_eq!(lengths("q")?, (0, 0, 0, 1));
    Ok(())
}

fn survived() -> Result<(), Failure> {
    given_back()?;
    check_eq!(lengths("q")?, (0, 1, 1, 0));
    check_eq!(lengths("other")?, (0, 0, 0, 0));
    Ok(())
}

/// Takes the job `again`, which comes back a moment after the call that had it has ended.
fn given_back() -> Result<Vec<queue::Job>, Failure> {
    let jobs = queue::take("q", 5)?;
    if jobs.is_empty() {
        return Err(Failure::retry_after(Duration::from_millis(1)));
    }
    check_eq!(texts(&jobs), ["again"]);
    Ok(jobs)
}

fn texts(jobs: &[queue::Job]) -> Vec<&str> {
    jobs.iter().map(|job| std::str::from_utf8(&job.payload).unwrap_or("not UTF-8")).collect()
}

fn lengths(name: &str) -> Result<(u64, u64, u64, u64), Error> {
    let queue::Lengths { ready, delayed, leased, dead } = queue::length(name)?;
    Ok((ready, delayed, leased, dead))
}
