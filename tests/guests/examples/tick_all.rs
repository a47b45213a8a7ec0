//! Notes its ticks, and ends as its configuration says. It has a schedule and nothing else.
//!
//! Each tick pushes `{due-ms}` to the list `ticks:{trigger}`, in its commit, and adds 1 to `runs:{trigger}`, at once.
//! What it does besides stands in the key `do:{trigger}`: `fail`, `trap`, `hang`, `refused` (a write that the store
//! refuses), `parts` (commits an own part, then waits until the key `go` is there, then commits another), or a number
//! of milliseconds for which it is busy. Grants: all.
#![allow(clippy::panic, reason = "that is what it is for")]

use std::time::SystemTime;

use sandbar_sdk::prelude::*;

sandbar_sdk::schedule!(tick);

fn tick(now: &Instant) -> Result<(), Error> {
    let name = &now.trigger;
    cache::increment(&format!("runs:{name}"), 1)?;
    let wanted = cache::get(&format!("do:{name}"))?.unwrap_or_default();
    collections::list_push(&format!("ticks:{name}"), End::Back, &[now.due_ms.to_string()], None)?;
    match String::from_utf8_lossy(&wanted).as_ref() {
        "" => {}
        "fail" => return Err(Error::Internal("this tick fails".to_owned())),
        "trap" => panic!("this tick traps"),
        "hang" => loop {
            std::hint::black_box(now);
        },
        "refused" => {
            cache::set("text", "no list", Expiry::Never)?;
            collections::list_push("text", End::Back, &["x"], None)?;
        }
        "parts" => {
            cache::add("parts", 1)?;
            transaction::commit()?;
            while cache::get("go")?.is_none() {}
            cache::add("parts", 1)?;
            transaction::commit()?;
        }
        ms => {
            let begun = SystemTime::now();
            let busy = Duration::from_millis(ms.parse().unwrap_or_default());
            while begun.elapsed().is_ok_and(|elapsed| elapsed < busy) {}
        }
    }
    Ok(())
}
