//! Checks the standard interfaces: configuration, logging, clocks and random numbers.
//!
//! Any event. Configuration: `greeting = "hello"`, `number = "42"`, and nothing else. Grants: write `passed` and
//! `random`. `random` gets a number that no other instance comes upon.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Instant, SystemTime};

use sandbar_sdk::prelude::*;
use sandbar_test_guests::{check, check_eq, check_error, pass};

/// 2026-01-01 00:00:00 UTC, in seconds since 1970-01-01 UTC.
const YEAR_2026_S: u64 = 1_767_225_600;

sandbar_sdk::handler!(|event: &Event| pass(event, checks));

fn checks(event: &Event) -> Result<(), Failure> {
    configuration()?;
    clocks(event)?;
    cache::set("random", RandomState::new().hash_one(1).to_string(), Expiry::Never)?;
    log::trace("a trace");
    log::debug("a detail");
    log::info("a fact");
    log::warn("a warning");
    log::error("an error");
    log::critical("the end");
    log::write(log::Level::Info, "config_all", format!("event {}", event.id));
    Ok(())
}

fn configuration() -> Result<(), Failure> {
    check_eq!(config::get("greeting")?.as_deref(), Some("hello"));
    check_eq!(config::get("absent")?, None);
    check_eq!(config::parse::<u32>("number")?, Some(42));
    check_eq!(config::parse::<u32>("absent")?, None);
    check_error!(config::parse::<u32>("greeting"), Invalid);
    let mut all = config::get_all()?;
    all.sort();
    let expected = [("greeting", "hello"), ("number", "42")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    check_eq!(all, expected);
    Ok(())
}

fn clocks(event: &Event) -> Result<(), Failure> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    check!(now > Duration::from_secs(YEAR_2026_S));
    check!(event.time_ms > YEAR_2026_S * 1_000);
    let start = Instant::now();
    while start.elapsed().is_zero() {
        std::hint::spin_loop();
    }
    Ok(())
}
