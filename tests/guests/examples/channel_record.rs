//! Records messages of channels: pushes `channel=payload` to the back of `heard`, and does what the payload asks for.
//!
//! Payloads: `slow` (commits, and takes half a second more), `reject`, `retry`, `trap`, `conflict`; all else is only
//! recorded. Grants: write `heard`, `ids`, `key`.
#![allow(clippy::panic, reason = "one of its payloads asks for a trap")]

use sandbar_sdk::prelude::*;
use sandbar_test_guests::{check, check_eq};

/// 2026-01-01 00:00:00 UTC, in milliseconds since 1970-01-01 UTC.
const YEAR_2026_MS: u64 = 1_767_225_600_000;

sandbar_sdk::handler!(handle);

fn handle(event: &Event) -> Result<(), Failure> {
    let payload = event.payload().ok_or_else(|| Failure::reject("a message has a payload"))?;
    let payload = String::from_utf8_lossy(payload).into_owned();
    check_eq!(event.attempt, 1);
    check!(event.time_ms > YEAR_2026_MS);
    let id: u64 = event.id.parse()?;
    collections::list_push("ids", End::Back, &[id.to_string()], None)?;
    collections::list_push("heard", End::Back, &[format!("{}={payload}", event.source)], None)?;
    match payload.as_str() {
        "slow" => {
            transaction::commit()?;
            std::thread::sleep(Duration::from_millis(500));
        }
        "reject" => return Err(Failure::reject("on purpose")),
        "retry" => return Err(Failure::retry()),
        "trap" => panic!("on purpose"),
        // The first time another client changes the value meanwhile: here, the call itself.
        "conflict" if cache::get_for_update("key")?.is_none() => drop(cache::increment("key", 1)?),
        _ => {}
    }
    Ok(())
}
