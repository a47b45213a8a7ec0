//! Appends what it handles to the stream `done`, whose ids say when: the `seq` of the event and the version's own
//! `mark`.
//!
//! Field: `seq`. Configuration: `mark`. Grants: write `done`.

use sandbar_sdk::prelude::*;

sandbar_sdk::handler!(handle);

fn handle(event: &Event) -> Result<(), Failure> {
    let mark = config::get("mark")?.unwrap_or_default();
    let fields = [("seq", event.bytes("seq")?), ("mark", mark.as_bytes())];
    Ok(stream::append("done", &fields, Retention::Unlimited)?)
}
