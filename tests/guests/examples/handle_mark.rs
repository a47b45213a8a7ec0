//! Records which version handled an event: adds 1 to `count:{camera}`, and pushes `seq` to the back of `seen:{camera}`
//! and the version's own `mark` to the back of `marks`.
//!
//! Fields: `camera`, `seq`. Configuration: `mark`. Grants: write `count:*`, `seen:*`, `marks`.

use sandbar_sdk::prelude::*;

sandbar_sdk::handler!(handle);

fn handle(event: &Event) -> Result<(), Failure> {
    let camera = event.text("camera")?;
    let mark = config::get("mark")?.unwrap_or_default();
    cache::add(&format!("count:{camera}"), 1)?;
    collections::list_push(&format!("seen:{camera}"), End::Back, &[event.bytes("seq")?], None)?;
    collections::list_push("marks", End::Back, &[mark], None)?;
    Ok(())
}
