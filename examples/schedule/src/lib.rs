//! Keeps the number of visits of each minute of a day.
//!
//! Visits are counted under the key `visits`, by any client. At the end of each minute the count moves to the hash
//! `visits:minutes`: once, on one host of the fleet, whatever is killed.

use sandbar_sdk::prelude::*;

/// The minutes of a day.
const KEPT_MS: u64 = 24 * 3600 * 1000;
const MINUTE_MS: u64 = 60 * 1000;

fn tick(now: &Instant) -> Result<(), Failure> {
    // Watched: should another client count a visit before the commit, the tick is run again with what is there then.
    let visits = cache::get_for_update("visits")?.unwrap_or_else(|| b"0".to_vec());
    let minute = |ms: u64| (ms / MINUTE_MS).to_string();
    collections::hash_set("visits:minutes", &[(minute(now.due_ms).as_str(), visits)])?;
    collections::hash_delete("visits:minutes", &[minute(now.due_ms.saturating_sub(KEPT_MS)).as_str()])?;
    cache::delete("visits")?;
    Ok(())
}

sandbar_sdk::schedule!(tick);
