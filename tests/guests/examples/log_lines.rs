//! Writes to the log in each way, for each event, for each tick and for each request below `/log`.
//!
//! Fields: `n`, which is also the payload of jobs and messages; `many` writes 20 lines, `long` two that are far
//! longer than one may be. Grants: none.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "that is what it is for")]

use sandbar_sdk::http::{Problem, Request, Response};
use sandbar_sdk::prelude::*;

/// Bytes of a line that is too long, of characters of two bytes each behind one of one.
const LONG_BYTES: usize = 10_001;

sandbar_sdk::handler!(|event: &Event| {
    let n = match event.payload() {
        Some(payload) => String::from_utf8_lossy(payload).into_owned(),
        None => event.text("n")?.to_owned(),
    };
    match n.as_str() {
        "many" => (0..20).for_each(|line| log::info(format!("line {line}"))),
        "long" => {
            let long = format!("x{}", "ä".repeat(LONG_BYTES / 2));
            log::info(&long);
            println!("{long}");
        }
        n => {
            log::write(log::Level::Warn, "part", format!("logged {n}"));
            println!("printed {n}");
        }
    }
    Ok::<(), Failure>(())
});

sandbar_sdk::schedule!(|_: &Instant| {
    log::error("ticked");
    Ok::<(), Error>(())
});

sandbar_sdk::service!(|request: &Request| -> Result<Response, Problem> {
    log::info(format!("asked for {}", request.path));
    eprint!("without an end");
    Ok(Response::new(204))
});
