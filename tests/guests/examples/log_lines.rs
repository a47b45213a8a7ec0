//! Writes to the log in each way, for each event and for each request below `/log`.
//!
//! Fields: `n`. Grants: none.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "that is what it is for")]

use sandbar_sdk::http::{Problem, Request, Response};
use sandbar_sdk::prelude::*;

sandbar_sdk::handler!(|event: &Event| {
    log::write(log::Level::Warn, "part", format!("logged {}", event.text("n")?));
    println!("printed {}", event.text("n")?);
    Ok(())
});

sandbar_sdk::service!(|request: &Request| -> Result<Response, Problem> {
    log::info(format!("asked for {}", request.path));
    eprint!("without an end");
    Ok(Response::new(204))
});
