//! Counts events so that a lost or doubled one shows: adds 1 to `count:{camera}` and pushes `seq` to the back of
//! `seen:{camera}`.
//!
//! Fields: `camera`, `seq`. Grants: write `count:*`, `seen:*`.

use sandbar_sdk::prelude::*;

sandbar_sdk::handler!(handle);

fn handle(event: &Event) -> Result<(), Failure> {
    let camera = event.text("camera")?;
    cache::add(&format!("count:{camera}"), 1)?;
    collections::list_push(&format!("seen:{camera}"), End::Back, &[event.bytes("seq")?], None)?;
    Ok(())
}
