//! Waiting for something without sleeping for a guessed time.

use std::time::{Duration, Instant};

/// How long a condition rests between two looks.
const INTERVAL: Duration = Duration::from_millis(5);

/// Waits until a condition holds. Panics, naming `what`, when it does not within `limit`.
pub async fn poll_until(limit: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < limit, "waited {limit:?} in vain: {what}");
        tokio::time::sleep(INTERVAL).await;
    }
}

/// The same outside of a runtime.
pub fn poll_until_blocking(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "waited {limit:?} in vain: {what}");
        std::thread::sleep(INTERVAL);
    }
}
