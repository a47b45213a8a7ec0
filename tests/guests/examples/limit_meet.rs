//! Meets one limit, whatever triggers it: an event, a message, a request below any route, a tick.
//!
//! Configuration: `do`, one of the words below. What a limit refuses is an error, with which the call fails; a call
//! that ends well adds 1 to `done`, or to the key that the configuration names with `mark`. Grants: everything.

use sandbar_sdk::cache::Policy;
use sandbar_sdk::http::{Problem, Request, Response};
use sandbar_sdk::prelude::*;

/// More than any limit of the tests allows.
const MANY: u32 = 1_000_000;
/// How long a call is in flight that does nothing else.
const REST: Duration = Duration::from_millis(400);

sandbar_sdk::handler!(|_: &Event| meet());
sandbar_sdk::schedule!(|_: &Instant| meet().map_err(|failure| format!("{failure:?}")));
sandbar_sdk::service!(|_: &Request| -> Result<Response, Problem> {
    meet()?;
    Ok(Response::new(204))
});

fn meet() -> Result<(), Failure> {
    let what = config::get("do").map_err(|error| Failure::reject(format!("{error:?}")))?.unwrap_or_default();
    act(&what).map_err(|error| Failure::reject(error.to_string()))?;
    let mark = config::get("mark").map_err(|error| Failure::reject(format!("{error:?}")))?;
    Ok(cache::add(mark.as_deref().unwrap_or("done"), 1)?)
}

fn act(what: &str) -> Result<(), Error> {
    match what {
        "loop" => loop {
            std::hint::black_box(what);
        },
        "memory" => {
            let mut eaten = Vec::new();
            loop {
                eaten.push(vec![1_u8; 1 << 20]);
                std::hint::black_box(&eaten);
            }
        }
        "sleep" => std::thread::sleep(REST),
        "value" => cache::set("large", vec![0_u8; 2 << 20], Expiry::Never)?,
        "effects" => (0..MANY).try_for_each(|_| cache::add("n", 1))?,
        "effect-bytes" => (0..MANY).try_for_each(|n| cache::set(&format!("n:{n}"), [0_u8; 1000], Expiry::Never))?,
        "host-calls" => (0..MANY).try_for_each(|_| cache::get("n").map(drop))?,
        "keys" => (0..MANY).try_for_each(|n| stream::length(&format!("n:{n}")).map(drop))?,
        "read-bytes" => (0..MANY).try_for_each(|_| collections::list_range("large", 0, -1).map(drop))?,
        "value-push" => queue::push("large-job", vec![0_u8; 2 << 20])?,
        "value-publish" => pubsub::publish("large-message", vec![0_u8; 2 << 20])?,
        "value-list" => collections::list_push("large-list", End::Back, &[vec![0_u8; 2 << 20]], None)?,
        "value-field" => collections::hash_set("large-hash", &[("x", vec![0_u8; 2 << 20])])?,
        "value-entry" => stream::append("large-entry", &[("x", vec![0_u8; 2 << 20])], Retention::Unlimited)?,
        "channels" => (0..MANY).try_for_each(|n| pubsub::publish(&format!("n:{n}"), "x"))?,
        "queues" => (0..MANY).try_for_each(|n| queue::length(&format!("n:{n}")).map(drop))?,
        "locks" => (0..MANY).try_for_each(|n| lock::try_acquire(&format!("n:{n}"), REST).map(drop))?,
        "commits" => (0..MANY).try_for_each(|_| transaction::commit())?,
        "discards" => (0..MANY).try_for_each(|_| transaction::discard())?,
        "fetches" => {
            let policy = Policy::new(Duration::from_secs(600));
            (0..MANY).try_for_each(|_| cache::fetch("large-value", &policy).map(drop))?;
        }
        "log-lines" => (0..10_000).for_each(|n| log::info(format!("line {n}"))),
        "log-bytes" => (0..100).for_each(|_| log::info("x".repeat(1 << 16))),
        _ => {}
    }
    Ok(())
}
