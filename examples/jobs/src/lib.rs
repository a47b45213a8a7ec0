//! A queue: uploads become jobs, jobs become thumbnails.
//!
//! The plugin has two triggers. Entries of the stream `uploads` become jobs of the queue `thumbnails`: urgent ones go
//! first, and the same image twice within a minute is one job. The queue's trigger makes the thumbnails, and leaves
//! for each a job that removes it an hour later.

use sandbar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

const QUEUE: &str = "thumbnails";
const KEPT: Duration = Duration::from_secs(3600);
const ONCE_WITHIN: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do", content = "image")]
enum Job<'a> {
    Make(&'a str),
    Remove(&'a str),
}

/// An event with a payload is a job; one with fields is an entry of the stream.
fn handle(event: &Event) -> Result<(), Failure> {
    match event.payload() {
        None => order(event),
        Some(_) => work(event.payload_json()?),
    }
}

/// The jobs are pushed in the commit that acknowledges the upload: all of them, once, or none.
fn order(upload: &Event) -> Result<(), Failure> {
    let image = upload.text("image")?;
    let priority = if upload.field("urgent").is_some() { 9 } else { 0 };
    queue::push_json(QUEUE, &Job::Make(image), Push::new().priority(priority).deduplicate(image, ONCE_WITHIN))
}

fn work(job: Job<'_>) -> Result<(), Failure> {
    match job {
        // `reject` gives up at once; `Failure::retry()` would try again, later and later, up to `max-attempts`.
        Job::Make(image) if !image.ends_with(".jpg") => Err(Failure::reject(format!("{image}: not a picture"))),
        Job::Make(image) => {
            cache::set(&format!("thumbnail:{image}"), format!("a small {image}"), Expiry::Never)?;
            queue::push_json(QUEUE, &Job::Remove(image), Push::new().delay(KEPT))
        }
        Job::Remove(image) => Ok(cache::delete(&format!("thumbnail:{image}"))?),
    }
}

sandbar_sdk::handler!(handle);
