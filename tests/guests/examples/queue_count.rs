//! Counts jobs so that a lost or doubled one shows: adds 1 to `count:{camera}` and pushes `seq` to the back of
//! `seen:{camera}`.
//!
//! A job is `camera seq`, or `camera seq trap`. It comes from the queue that the trigger reads, where every seventh
//! is retried once and those with `trap` trap in their first attempt (so that batches are committed in parts), or,
//! with a stream trigger, from the queue `more`, of which each event takes up to three, and of every fifth of these
//! events the first attempt asks for a retry. Grants: write `count:*`, `seen:*`, `more`.

use sandbar_sdk::prelude::*;

sandbar_sdk::handler!(handle);

fn handle(event: &Event) -> Result<(), Failure> {
    let Some(payload) = event.payload() else {
        for job in queue::take("more", 3)? {
            count(&job.payload)?;
        }
        let is_unlucky = event.parse::<u64>("seq")?.is_multiple_of(5) && event.attempt == 1;
        return if is_unlucky { Err(Failure::retry()) } else { Ok(()) };
    };
    let seq = count(payload)?;
    assert!(!payload.ends_with(b" trap") || event.attempt > 1, "this job traps in its first attempt");
    if seq.is_multiple_of(7) && event.attempt == 1 { Err(Failure::retry()) } else { Ok(()) }
}

fn count(payload: &[u8]) -> Result<u64, Failure> {
    let mut words = std::str::from_utf8(payload)?.split(' ');
    let (Some(camera), Some(seq)) = (words.next(), words.next()) else { return Err(Failure::reject("not two words")) };
    cache::add(&format!("count:{camera}"), 1)?;
    collections::list_push(&format!("seen:{camera}"), End::Back, &[seq], None)?;
    Ok(seq.parse()?)
}
