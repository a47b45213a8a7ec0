//! Takes `lock:held` for a minute at a time, waiting for it as long as it may, and then ends in one of several ways.
//!
//! Field: `do`, one of `trap`, `hang` (until its time is over), `reject`, `panic-late` (after a write), and `wait`
//! (until the key `go` is there). How often it has held the lock stands at once in `holding`. What ends well adds 1
//! to `effect`. Grants: read and write all of these.
#![allow(clippy::panic, reason = "that is what it is for")]

use sandbar_sdk::prelude::*;
use sandbar_test_guests::unknown;

sandbar_sdk::handler!(handle);

fn handle(event: &Event) -> Result<(), Failure> {
    let _guard = lock::acquire("lock:held", Duration::from_secs(60), Duration::from_secs(60))?;
    cache::increment("holding", 1)?;
    match event.text("do")? {
        "trap" => panic!("while it holds a lock"),
        "hang" => loop {
            std::hint::black_box(event);
        },
        "reject" => return Err(Failure::reject("while it holds a lock")),
        "late" => {
            cache::add("effect", 1)?;
            panic!("after it has written");
        }
        "wait" => while cache::get("go")?.is_none() {},
        what => return Err(unknown(what)),
    }
    cache::add("effect", 1)?;
    Ok(())
}
