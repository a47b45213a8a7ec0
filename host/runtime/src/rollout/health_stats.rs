//! How a version does: what has become of its events, and how long it takes.

use std::time::Duration;

use parking_lot::Mutex;

use super::health_check::Tally;
use crate::telemetry::Histogram;

/// Events of which the newest are kept apart from those before; a tally is of at most twice as many. What a version
/// did long ago says little about it.
const WINDOW_EVENTS: u64 = 10_000;
/// Ids of events at fault that are kept, and the longest of each, in bytes.
const FAULTS_MAX: usize = 8;
const FAULT_BYTES_MAX: usize = 256;

/// How one version does on this host.
#[derive(Debug, Default)]
pub(crate) struct HealthStats {
    windows: Mutex<Windows>,
}

#[derive(Debug, Default)]
struct Windows {
    current: Window,
    earlier: Option<Box<Window>>,
    /// The newest events that it did not handle.
    faults: Vec<String>,
}

#[derive(Debug, Default)]
struct Window {
    events: u64,
    failed: u64,
    times: Histogram,
}

impl HealthStats {
    /// A call with so many events was answered.
    pub(super) fn answered(&self, events: usize, took: Duration) {
        let each = took / u32::try_from(events).unwrap_or(u32::MAX).max(1);
        self.windows.lock().current.times.record(each);
    }

    /// So many events, handled for the first time, came to an end; those that failed have these ids.
    pub(super) fn settled(&self, events: usize, failed: impl IntoIterator<Item = String>) {
        let mut windows = self.windows.lock();
        let windows = &mut *windows;
        if windows.current.events >= WINDOW_EVENTS {
            windows.earlier = Some(Box::new(std::mem::take(&mut windows.current)));
        }
        windows.current.events += events as u64;
        for mut id in failed {
            windows.current.failed += 1;
            if windows.faults.len() >= FAULTS_MAX {
                windows.faults.remove(0);
            }
            id.truncate(id.floor_char_boundary(FAULT_BYTES_MAX));
            windows.faults.push(id);
        }
    }

    /// What is known of it.
    pub(super) fn tally(&self) -> Tally {
        let windows = self.windows.lock();
        let mut times = windows.current.times.spread();
        let (mut events, mut failed) = (windows.current.events, windows.current.failed);
        if let Some(earlier) = &windows.earlier {
            times.merge(&earlier.times.spread());
            (events, failed) = (events + earlier.events, failed + earlier.failed);
        }
        Tally { events, failed, calls: times.count(), p99: times.quantile(0.99) }
    }

    /// The newest events that it did not handle.
    pub(super) fn faults(&self) -> Vec<String> {
        self.windows.lock().faults.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let health_stats = HealthStats::default();
        let ids = |count: usize| (0..count).map(|id| format!("events {id}"));
        health_stats.settled(10_000, ids(10_000));
        assert_eq!(health_stats.tally().failed, 10_000);
        (0..3).for_each(|_| health_stats.settled(10_000, []));
        assert_eq!((health_stats.tally().events, health_stats.tally().failed), (20_000, 0));
        assert_eq!(health_stats.faults().len(), FAULTS_MAX);
        assert_eq!(health_stats.faults().last().unwrap(), "events 9999");
    }

    #[test]
    fn times_are_for_each_event() {
        let health_stats = HealthStats::default();
        (0..100).for_each(|_| health_stats.answered(10, Duration::from_millis(50)));
        let p99 = health_stats.tally().p99.unwrap();
        assert!((5..=6).contains(&p99.as_millis()), "{p99:?}");
        assert_eq!(health_stats.tally().calls, 100);
    }
}
