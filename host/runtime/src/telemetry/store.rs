//! The numbers of the store's connection.

use metrics::{Counter, Gauge, counter, gauge};

/// Metrics: whether the store answers, and how often a connection was made anew; cheap to clone.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    up: Gauge,
    reconnects: Counter,
}

impl StoreMetrics {
    /// The numbers of the store. Make them after [`super::Exporter::install`].
    pub fn new() -> Self {
        Self { up: gauge!("sandbar_store_up"), reconnects: counter!("sandbar_store_reconnects_total") }
    }

    /// The store answers, or it does not.
    pub fn up(&self, up: bool) {
        self.up.set(if up { 1.0 } else { 0.0 });
    }

    /// A lost connection was made anew.
    pub fn reconnected(&self) {
        self.reconnects.increment(1);
    }
}

impl Default for StoreMetrics {
    fn default() -> Self {
        Self::new()
    }
}
