//! Fails in every way that a handler can.
//!
//! Field: `do`, one of the words below. What fails adds 1 to `leaked` first, which must never be committed; what ends
//! well adds 1 to `done`. Grants: write `done`, `leaked`.

use sandbar_sdk::prelude::*;
use sandbar_test_guests::unknown;

/// Attempt at which an event that is to be retried is handled.
const LAST_ATTEMPT: u32 = 3;
/// What an event that eats memory takes at a time.
const BITE_BYTES: usize = 1 << 20;
/// Bytes of a reason that is far longer than one may be.
const LARGE_BYTES: usize = 1 << 20;

sandbar_sdk::batch_handler!(handle);

fn handle(batch: &[Event]) -> Result<Vec<Outcome>, String> {
    let mut outcomes = Vec::with_capacity(batch.len());
    for event in batch {
        transaction::for_event(&event.id).map_err(|error| error.to_string())?;
        match event.text("do") {
            Ok("error") => {
                leak();
                return Err("this handler answers an error".to_owned());
            }
            Ok("short") => leak(),
            Ok(what) => outcomes.push(Outcome::from(act(event, what))),
            Err(failure) => outcomes.push(Outcome::from(failure)),
        }
    }
    Ok(outcomes)
}

fn act(event: &Event, what: &str) -> Result<(), Failure> {
    let is_well = what == "ok" || what == "log" || (what == "retry" && event.attempt >= LAST_ATTEMPT);
    if !is_well {
        leak();
    }
    match what {
        _ if is_well => {
            log::info(format!("handled in attempt {}", event.attempt));
            Ok(cache::add("done", 1)?)
        }
        "trap" => std::process::abort(),
        "loop" => loop {
            std::hint::black_box(what);
        },
        "memory" => eat(),
        "retry" => Err(Failure::retry_after(Duration::from_millis(50))),
        "reject" => Err(Failure::reject("this event is rejected")),
        "large" => Err(Failure::reject("x".repeat(LARGE_BYTES))),
        "panic" => fall_over(),
        _ => Err(unknown(what)),
    }
}

/// A write that is never to be seen.
fn leak() {
    if let Err(error) = cache::add("leaked", 1) {
        log::error(error.to_string());
    }
}

fn eat() -> Result<(), Failure> {
    let mut eaten = Vec::new();
    loop {
        eaten.push(vec![1_u8; BITE_BYTES]);
        std::hint::black_box(&eaten);
    }
}

#[expect(clippy::panic, reason = "the host has to survive it")]
fn fall_over() -> Result<(), Failure> {
    panic!("this handler panics")
}
