//! Reads through the tiered cache, and is its own source.
//!
//! As a handler: fields `key`, `ttl`, and optionally `memory`, `negative`, `revalidate`, `on-error` (all in
//! milliseconds), `jitter`, `as` (where the answer is noted instead of `answer:{key}`), `times` (how often it reads)
//! and `took` (where it notes the nanoseconds of all reads). Answers are `= value`, `none` or `! error`.
//!
//! As a loader: what is under `source:{key}` says what it does: `= value`, `none`, `fail`, `trap`, `spin`, `sleep MS
//! = value`, `fetch KEY`, `write VALUE` (also writes `beside:{key}`), `add VALUE` (also adds to `beside:{key}`),
//! `large BYTES`. Each load counts at once under `loads:{key}`, and the size of the batch under `batch:{key}`. Grants:
//! all.

use std::time::Instant;

use sandbar_sdk::cache::Policy;
use sandbar_sdk::loader::Loaded;
use sandbar_sdk::prelude::*;

sandbar_sdk::handler!(handle);
sandbar_sdk::batch_loader!(load);

fn handle(event: &Event) -> Result<(), Failure> {
    let key = event.text("key")?;
    let ms = |name: &str| match event.field(name) {
        Some(_) => event.parse(name).map(Duration::from_millis),
        None => Ok(Duration::ZERO),
    };
    let jitter = if event.field("jitter").is_some() { event.parse("jitter")? } else { 0 };
    let policy = Policy::new(ms("ttl")?)
        .jitter(jitter)
        .memory(ms("memory")?)
        .negative(ms("negative")?)
        .stale_while_revalidate(ms("revalidate")?)
        .stale_on_error(ms("on-error")?);
    let times: u32 = if event.field("times").is_some() { event.parse("times")? } else { 1 };
    let begun = Instant::now();
    for _ in 1..times {
        std::hint::black_box(cache::fetch(key, &policy)?);
    }
    let fetched = cache::fetch(key, &policy);
    if event.field("took").is_some() {
        cache::set(event.text("took")?, begun.elapsed().as_nanos().to_string(), Expiry::Never)?;
    }
    let answer = match fetched {
        Ok(Some(value)) => format!("= {}", String::from_utf8(value)?),
        Ok(None) => "none".to_owned(),
        Err(error) => format!("! {error}"),
    };
    let place = if event.field("as").is_some() { event.text("as")?.to_owned() } else { format!("answer:{key}") };
    cache::set(&place, answer, Expiry::Never)?;
    Ok(())
}

fn load(keys: &[String]) -> Result<Vec<Loaded>, String> {
    keys.iter().map(|key| one(key, keys.len()).map_err(|error| error.to_string())).collect()
}

#[expect(clippy::panic, reason = "a trap is what is asked for")]
fn one(key: &str, batch: usize) -> Result<Loaded, Error> {
    cache::increment(&format!("loads:{key}"), 1)?;
    cache::increment(&format!("batch:{key}"), i64::try_from(batch).unwrap_or(i64::MAX))?;
    let source = cache::get(&format!("source:{key}"))?.unwrap_or_default();
    let source = String::from_utf8_lossy(&source).into_owned();
    let (word, rest) = source.split_once(' ').unwrap_or((&source, ""));
    Ok(match word {
        "=" => Loaded::Value(rest.as_bytes().to_vec()),
        "none" => Loaded::Missing,
        "trap" => panic!("the source traps"),
        "spin" => loop {
            std::hint::black_box(key);
        },
        "sleep" => {
            let (ms, value) = rest.split_once(" = ").unwrap_or((rest, ""));
            std::thread::sleep(Duration::from_millis(ms.parse().unwrap_or(0)));
            Loaded::Value(value.as_bytes().to_vec())
        }
        "fetch" => match cache::fetch(rest, &Policy::new(Duration::from_secs(60))) {
            Ok(value) => value.map_or(Loaded::Missing, Loaded::Value),
            Err(error) => Loaded::Failed(format!("fetch {rest}: {error}")),
        },
        "write" => {
            cache::set(&format!("beside:{key}"), rest, Expiry::Never)?;
            Loaded::Value(rest.as_bytes().to_vec())
        }
        "add" => {
            cache::add(&format!("beside:{key}"), 1)?;
            Loaded::Value(rest.as_bytes().to_vec())
        }
        "large" => Loaded::Value(vec![b'x'; rest.parse().unwrap_or(0)]),
        _ => Loaded::Failed(format!("`{source}`")),
    })
}
