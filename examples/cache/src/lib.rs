//! Quotes through a tiered cache: the memory of a host, Redis, and a source that is asked once per symbol and five
//! seconds, however many hosts and callers there are.
//!
//! One plugin is both here: the handler answers requests, the loader is the source. They may as well be two: then the
//! manifest of the one names the other as `loader` under `[cache]`.

use std::time::SystemTime;

use sandbar_sdk::cache::Policy;
use sandbar_sdk::prelude::*;

sandbar_sdk::handler!(answer);
sandbar_sdk::loader!(load);

/// How quotes are kept.
fn policy() -> Policy {
    Policy::new(Duration::from_secs(5))
        // Quotes that were loaded together do not all expire together.
        .jitter(20)
        // For a second the host does not even ask Redis; a write to the key, by anybody, ends that at once.
        .memory(Duration::from_secs(1))
        // A symbol that does not exist is looked up once a minute.
        .negative(Duration::from_secs(60))
        // For two more seconds the old quote is answered, and no call waits for the new one.
        .stale_while_revalidate(Duration::from_secs(2))
        // While the exchange is away an old quote is better than none.
        .stale_on_error(Duration::from_secs(600))
}

/// Answers a request for a quote: to the channel `quotes`, and into the count of its symbol.
fn answer(request: &Event) -> Result<(), Failure> {
    let symbol = request.text("symbol")?;
    let Some(quote) = cache::fetch(&format!("quote:{symbol}"), &policy())? else {
        return Err(Failure::reject(format!("symbol: {symbol:?} is not traded")));
    };
    pubsub::publish("quotes", quote)?;
    cache::add(&format!("answered:{symbol}"), 1)?;
    Ok(())
}

/// The source of quotes; a real one would send a request to the exchange here.
fn load(key: &str) -> Result<Option<String>, Failure> {
    let symbol = key.strip_prefix("quote:").unwrap_or(key);
    if symbol.is_empty() || !symbol.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Ok(None);
    }
    let time_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
    let cents = symbol.bytes().fold(0, |sum, byte| sum * 31 + u128::from(byte)) % 10_000 + time_ms % 100;
    // At once, and outside of the commit: it counts what the source was asked, whatever becomes of the answer.
    cache::increment(&format!("asked:{symbol}"), 1)?;
    Ok(Some(format!(r#"{{"symbol":"{symbol}","price":{}.{:02},"time":{time_ms}}}"#, cents / 100, cents % 100)))
}
