//! Sessions over HTTP, and a channel that announces them.
//!
//! `PUT`, `GET` and `DELETE` of `/sessions/{id}` write, read (which renews) and end a session. An answer goes out
//! only after its writes are committed, together with the message on the channel `session-events`. The second trigger
//! counts these messages: at most once, as pub/sub is.

use sandbar_sdk::http::{Problem, Request, Response};
use sandbar_sdk::prelude::*;

const EVENTS: &str = "session-events";
const TTL_MS: u64 = 1_800_000;

sandbar_sdk::service!(serve);
sandbar_sdk::handler!(count);

fn serve(request: &Request) -> Result<Response, Problem> {
    let id = request.below("/sessions").filter(|id| !id.is_empty() && !id.contains('/'));
    let id = id.ok_or_else(|| Problem::new(404, "a session is at /sessions/{id}"))?;
    let ttl = Duration::from_millis(config::parse("ttl-ms")?.unwrap_or(TTL_MS));
    let key = format!("session:{id}");
    match request.method.as_str() {
        "PUT" => {
            cache::set(&key, &request.body, ttl)?;
            pubsub::publish(EVENTS, "begun")?;
            log::info(format!("session {id} begins"));
            Ok(Response::new(204))
        }
        "GET" => match cache::get(&key)? {
            Some(session) => {
                cache::expire(&key, ttl)?;
                Ok(Response::new(200).with_body(session))
            }
            None => Err(Problem::new(404, "no such session")),
        },
        "DELETE" => {
            cache::delete(&key)?;
            pubsub::publish(EVENTS, "ended")?;
            Ok(Response::new(204))
        }
        _ => Err(Problem::new(405, "PUT, GET or DELETE")),
    }
}

/// A message of the channel: what has become of some session.
fn count(event: &Event) -> Result<(), Failure> {
    let what = String::from_utf8_lossy(event.payload().unwrap_or_default()).into_owned();
    cache::add(&format!("sessions:{what}"), 1)?;
    Ok(())
}
