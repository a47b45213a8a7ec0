//! Writes to keys that hold something else: the store refuses the effect within the commit, and the event is a dead
//! dead letter.
//!
//! Field: `do`, which is `seed` first, in a batch of its own, then `push` and `add` (both dead letters; what else
//! they write stands: 1 is added to `beside`), `read` and `ok` in any order. Grants: write `text`, `list`, `beside`,
//! `passed`.

use sandbar_sdk::prelude::*;
use sandbar_test_guests::{check_error, pass, unknown};

sandbar_sdk::handler!(handle);

fn handle(event: &Event) -> Result<(), Failure> {
    match event.text("do")? {
        "seed" => {
            cache::set("text", "not a number", Expiry::Never)?;
            collections::list_push("list", End::Back, &["1"], None)?;
        }
        "push" => {
            cache::add("beside", 1)?;
            collections::list_push("text", End::Back, &["1"], None)?;
        }
        "add" => {
            cache::add("beside", 1)?;
            cache::add("text", 1)?;
        }
        "read" => return pass(event, reads),
        "ok" => return pass(event, |_| Ok(())),
        what => return Err(unknown(what)),
    }
    Ok(())
}

fn reads(_: &Event) -> Result<(), Failure> {
    check_error!(cache::get("list"), WrongType);
    check_error!(cache::get_for_update("list"), WrongType);
    check_error!(cache::increment("list", 1), WrongType);
    check_error!(cache::increment("text", 1), WrongType);
    check_error!(collections::hash_get("text", "x"), WrongType);
    check_error!(collections::list_length("text"), WrongType);
    check_error!(stream::length("text"), WrongType);
    Ok(())
}
