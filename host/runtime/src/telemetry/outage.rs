//! The numbers of an outage of the store.

use metrics::{Counter, Gauge, counter, gauge};

/// Metrics of plugins that go on while the store is away; cheap to clone.
#[derive(Debug, Clone)]
pub struct OutageMetrics {
    degraded: Gauge,
    journal: Gauge,
    replayed: Counter,
    conflicts: Counter,
    refused: Counter,
}

impl OutageMetrics {
    /// The numbers of the host. Make them after [`super::Exporter::install`].
    pub fn new() -> Self {
        Self {
            degraded: gauge!("sandbar_degraded"),
            journal: gauge!("sandbar_journal_entries"),
            replayed: counter!("sandbar_journal_replayed_total"),
            conflicts: counter!("sandbar_journal_conflicts_total"),
            refused: counter!("sandbar_journal_refused_total"),
        }
    }

    /// Calls go to the fallback, or they do not any more.
    pub fn degraded(&self, degraded: bool) {
        self.degraded.set(if degraded { 1.0 } else { 0.0 });
    }

    /// So many commits wait to be replayed.
    pub fn journal(&self, entries: usize) {
        self.journal.set(entries as f64);
    }

    /// So many commits were replayed.
    pub fn replayed(&self, entries: usize) {
        self.replayed.increment(entries as u64);
    }

    /// A key that a journaled commit watched had changed, or the store refused a part of it.
    pub fn conflict(&self) {
        self.conflicts.increment(1);
    }

    /// A commit found the journal full.
    pub fn refused(&self) {
        self.refused.increment(1);
    }
}

impl Default for OutageMetrics {
    fn default() -> Self {
        Self::new()
    }
}
