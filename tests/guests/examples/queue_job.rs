//! Handles jobs of a queue in every way that a handler can.
//!
//! The payload is JSON with `do`, one of the words below, and a `name`. Each run notes its time under
//! `at:{name}:{attempt}` in milliseconds since 1970 and adds 1 to `runs:{name}`, both at once. What is done pushes
//! the name to the back of `order`, and when the job was taken or pushed to the back of `times`. Grants: write all of
//! these.

use std::time::SystemTime;

use sandbar_sdk::prelude::*;
use sandbar_test_guests::unknown;
use serde::Deserialize;

#[derive(Deserialize)]
struct Job<'a> {
    #[serde(rename = "do")]
    what: &'a str,
    name: &'a str,
    /// For `given`: milliseconds.
    #[serde(default)]
    delay: u64,
    /// For `given` and `backoff`: the attempt that is content.
    #[serde(default)]
    until: u32,
}

sandbar_sdk::handler!(handle);

fn handle(event: &Event) -> Result<(), Failure> {
    let job: Job<'_> = event.payload_json()?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    cache::increment(&format!("at:{}:{}", job.name, event.attempt), i64::try_from(now.as_millis())?)?;
    let runs = cache::increment(&format!("runs:{}", job.name), 1)?;
    match job.what {
        "given" if event.attempt < job.until => return Err(Failure::retry_after(Duration::from_millis(job.delay))),
        "backoff" if event.attempt < job.until => return Err(Failure::retry()),
        "hang-once" if runs == 1 => hang(),
        "hang" => hang(),
        "trap" => fall_over(),
        "reject" => return Err(Failure::reject("this job is rejected")),
        "refused" => collections::list_push("text", End::Back, &["x"], None)?,
        "push" => {
            let later = Push::new().delay(Duration::from_millis(job.delay));
            queue::push_with(&event.source, format!(r#"{{"do":"done","name":"{}'s"}}"#, job.name), later)?;
        }
        "done" | "given" | "backoff" | "hang-once" => {}
        what => return Err(unknown(what)),
    }
    collections::list_push("order", End::Back, &[job.name], None)?;
    collections::list_push("times", End::Back, &[event.time_ms.to_string()], None)?;
    Ok(())
}

#[expect(clippy::panic, reason = "the host has to survive it")]
fn fall_over() {
    panic!("this job panics")
}

fn hang() -> ! {
    loop {
        std::hint::black_box(());
    }
}
