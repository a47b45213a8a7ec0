//! Asks to be given its event again, and notes when it was.
//!
//! Fields: `name`; `do`, one of `given` (back in `delay` milliseconds), `backoff` (back when the host sees fit) and
//! `hang` (never ends in its first run); `until`, the attempt that is content. The time of each attempt is kept at
//! once under `at:{name}:{attempt}`, in milliseconds since 1970, and the number of runs under `runs:{name}`. What is
//! content pushes the number of its attempt to `done:{name}`. Grants: write all of these.

use std::time::SystemTime;

use sandbar_sdk::prelude::*;
use sandbar_test_guests::unknown;

sandbar_sdk::handler!(handle);

fn handle(event: &Event) -> Result<(), Failure> {
    let name = event.text("name")?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    cache::increment(&format!("at:{name}:{}", event.attempt), i64::try_from(now.as_millis())?)?;
    let runs = cache::increment(&format!("runs:{name}"), 1)?;
    match event.text("do")? {
        "given" if event.attempt < event.parse("until")? => {
            Err(Failure::retry_after(Duration::from_millis(event.parse("delay")?)))
        }
        "backoff" if event.attempt < event.parse("until")? => Err(Failure::retry()),
        "hang" if runs == 1 => loop {
            std::hint::black_box(name);
        },
        "given" | "backoff" | "hang" => {
            let attempt = event.attempt.to_string();
            collections::list_push(&format!("done:{name}"), End::Back, &[attempt], None)?;
            Ok(())
        }
        what => Err(unknown(what)),
    }
}
