//! Keeps a running total that it reads, changes and writes back, and differs from itself as its configuration says.
//!
//! Fields: `key`, `n`. Sets `total:{key}` to what it read there plus `n`, adds 1 to `count:{key}`. Configuration:
//! `differs`, one of the words below, for each event whose `n` is a multiple of `every`; `chance`: where it is there,
//! pushes the time and something random to `chances`; `at-once`: where it is there, does all that happens at once;
//! `commits`: where it is there, adds 1 to `committed` and commits by itself before anything else. Grants: read and
//! write `*`, publish `*`.

use std::hash::{BuildHasher, Hasher, RandomState};

use sandbar_sdk::prelude::*;
use sandbar_test_guests::unknown;

sandbar_sdk::handler!(handle);

fn handle(event: &Event) -> Result<(), Failure> {
    let (key, n) = (event.text("key")?, event.parse::<u64>("n")?);
    let every: u64 = config::get("every")?.and_then(|every| every.parse().ok()).unwrap_or(u64::MAX);
    let differs = config::get("differs")?.filter(|_| n.is_multiple_of(every)).unwrap_or_default();
    if config::get("commits")?.is_some() {
        cache::add("committed", 1)?;
        transaction::commit()?;
    }
    let total = format!("total:{key}");
    let before: u64 = cache::get(&total)?.and_then(|value| String::from_utf8(value).ok()?.parse().ok()).unwrap_or(0);
    let mut sum = before.wrapping_add(n);
    match differs.as_str() {
        "" => {}
        "value" => sum = sum.wrapping_add(1_000_000),
        "missing" => return Ok(cache::set(&total, sum.to_string(), Expiry::Never)?),
        "extra" => pubsub::publish("extra", "this message")?,
        "trap" => std::process::abort(),
        "reject" => return Err(Failure::reject(format!("{n} is rejected"))),
        "retry" => return Err(Failure::retry()),
        "slow" => std::thread::sleep(Duration::from_millis(150)),
        "other-read" => drop(cache::get("somewhere:else")?),
        what => return Err(unknown(what)),
    }
    cache::set(&total, sum.to_string(), Expiry::Never)?;
    cache::add(&format!("count:{key}"), 1)?;
    if config::get("chance")?.is_some() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let chance = RandomState::new().build_hasher().finish();
        collections::list_push("chances", End::Back, &[format!("{} {chance}", now.as_nanos())], None)?;
    }
    if config::get("at-once")?.is_some() {
        let sequence = cache::increment("sequence", 1)?;
        let guard = lock::acquire("one-at-a-time", Duration::from_secs(5), Duration::from_secs(1))?;
        let jobs = queue::take("side", 1)?;
        let trimmed = stream::trim("log", Retention::Exactly(10), false)?;
        cache::set(
            &format!("at-once:{n}"),
            format!("{sequence} {} {} {trimmed}", guard.token(), jobs.len()),
            Expiry::Never,
        )?;
    }
    Ok(())
}
