//! The numbers of one plugin.
//!
//! Every handle is made once and kept, so that nothing is looked up while events flow; only failures, which are rare,
//! look up their reason. Gauges are of the whole plugin: a plugin with several triggers has the values of the trigger
//! that was measured last.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge};
use parking_lot::Mutex;

use super::histogram::{Histogram, Spread};
use sandbar_store::Backlog;

/// The numbers of all plugins of the process.
static PLUGINS: Mutex<Vec<Weak<Numbers>>> = Mutex::new(Vec::new());

/// The numbers of all plugins. Those that were dropped are removed.
pub(super) fn all() -> Vec<Arc<Numbers>> {
    let mut plugins = PLUGINS.lock();
    plugins.retain(|numbers| numbers.strong_count() > 0);
    plugins.iter().filter_map(Weak::upgrade).collect()
}

/// The numbers of one plugin; cheap to clone. Make one per plugin, not per version, after [`super::Exporter::install`].
#[derive(Debug, Clone)]
pub struct PluginMetrics(Arc<Numbers>);

/// What stands behind a [`PluginMetrics`].
#[derive(Debug)]
pub(super) struct Numbers {
    pub(super) tenant: String,
    pub(super) plugin: String,
    pub(super) handler: Histogram,
    pub(super) commit: Histogram,
    pub(super) latency: Histogram,
    pub(super) request: Histogram,
    batches: Total,
    handled: Counter,
    failures: AtomicU64,
    commit_failures: AtomicU64,
    done: Total,
    retry: Total,
    retries: Counter,
    dead: Total,
    dead_letters: Counter,
    taken_over: Total,
    vanished: Total,
    pending: Gauge,
    lag: Gauge,
    dead_waiting: Gauge,
    warm: Gauge,
    busy: Gauge,
    backlog: Mutex<Backlog>,
}

/// A counter that can be read back.
#[derive(Debug)]
struct Total {
    count: AtomicU64,
    exported: Counter,
}

impl Total {
    fn new(exported: Counter) -> Self {
        Self { count: AtomicU64::new(0), exported }
    }

    fn add(&self, by: u64) {
        self.count.fetch_add(by, Ordering::Relaxed);
        self.exported.increment(by);
    }

    fn get(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// The totals of a plugin since its numbers were made, and its last known backlog.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Calls of the handler that ended well.
    pub batches: u64,
    /// Calls of the handler that did not.
    pub failures: u64,
    /// Events that were handled and committed.
    pub done: u64,
    /// Events that were put off.
    pub retries: u64,
    /// Events that became dead letters.
    pub dead: u64,
    /// Commits that were not made, or of which that is not known.
    pub commit_failures: u64,
    /// Events taken over from other consumers.
    pub taken_over: u64,
    /// Events that were pending but no longer in their stream.
    pub vanished: u64,
    /// How far the plugin is behind, when that was last asked.
    pub backlog: Backlog,
    /// Times from an event's production to the commit of its effects.
    pub latency: Spread,
}

impl PluginMetrics {
    /// The numbers of a plugin, all at zero.
    pub fn new(tenant: &str, plugin: &str) -> Self {
        let labels = || [("tenant", tenant.to_owned()), ("plugin", plugin.to_owned())];
        let outcome = |outcome: &'static str| {
            let [tenant, plugin] = labels();
            counter!("sandbar_events_total", &[tenant, plugin, ("outcome", outcome.to_owned())])
        };
        let instances = |state: &'static str| {
            let [tenant, plugin] = labels();
            gauge!("sandbar_instances", &[tenant, plugin, ("state", state.to_owned())])
        };
        let numbers = Arc::new(Numbers {
            tenant: tenant.to_owned(),
            plugin: plugin.to_owned(),
            handler: Histogram::default(),
            commit: Histogram::default(),
            latency: Histogram::default(),
            request: Histogram::default(),
            batches: Total::new(counter!("sandbar_batches_total", &labels())),
            handled: counter!("sandbar_handled_total", &labels()),
            failures: AtomicU64::new(0),
            commit_failures: AtomicU64::new(0),
            done: Total::new(outcome("done")),
            retry: Total::new(outcome("retry")),
            retries: counter!("sandbar_retries_total", &labels()),
            dead: Total::new(outcome("dead")),
            dead_letters: counter!("sandbar_dead_letters_total", &labels()),
            taken_over: Total::new(counter!("sandbar_taken_over_total", &labels())),
            vanished: Total::new(counter!("sandbar_vanished_total", &labels())),
            pending: gauge!("sandbar_pending", &labels()),
            lag: gauge!("sandbar_lag", &labels()),
            dead_waiting: gauge!("sandbar_dead_letters", &labels()),
            warm: instances("warm"),
            busy: instances("busy"),
            backlog: Mutex::new(Backlog::default()),
        });
        PLUGINS.lock().push(Arc::downgrade(&numbers));
        Self(numbers)
    }

    /// The handler answered for a batch of so many events, whatever becomes of them in the commit.
    pub fn handled(&self, events: usize, took: Duration) {
        self.0.batches.add(1);
        self.0.handled.increment(events as u64);
        self.0.handler.record(took);
    }

    /// A call of the handler trapped, ran out of its time or answered an error; `reason` is one word, such as `trap`.
    pub fn failed(&self, reason: &'static str) {
        self.0.failures.fetch_add(1, Ordering::Relaxed);
        self.count_reason("sandbar_handler_failures_total", reason);
    }

    /// A commit was made, in which so many events were done.
    pub fn committed(&self, events: usize, took: Duration) {
        self.0.done.add(events as u64);
        self.0.commit.record(took);
    }

    /// So many events were put off, in a commit.
    pub fn retried(&self, events: usize) {
        self.0.retry.add(events as u64);
        self.0.retries.increment(events as u64);
    }

    /// So many events became dead letters, in a commit.
    pub fn dead(&self, events: usize) {
        self.0.dead.add(events as u64);
        self.0.dead_letters.increment(events as u64);
    }

    /// The time from an event's production to the commit of its effects.
    pub fn latency(&self, since_produced: Duration) {
        self.0.latency.record(since_produced);
    }

    /// The same for all events of a batch.
    pub fn latencies(&self, since_produced: impl IntoIterator<Item = Duration>) {
        self.0.latency.record_all(since_produced);
    }

    /// Counts messages of channels that are gone, for a reason of one word, such as `buffer`.
    pub fn dropped(&self, reason: &'static str) -> Counter {
        let (tenant, plugin) = (self.0.tenant.clone(), self.0.plugin.clone());
        counter!("sandbar_dropped_total", "tenant" => tenant, "plugin" => plugin, "reason" => reason)
    }

    /// A request was answered with this status, to the end of its body. 499 stands for clients that did not wait.
    pub fn answered(&self, status: u16, took: Duration) {
        self.0.request.record(took);
        let class = match status {
            499 => "499",
            500.. => "5xx",
            400.. => "4xx",
            300.. => "3xx",
            _ => "2xx",
        };
        let (tenant, plugin) = (self.0.tenant.clone(), self.0.plugin.clone());
        counter!("sandbar_requests_total", "tenant" => tenant, "plugin" => plugin, "status" => class).increment(1);
    }

    /// A commit was not made, or that is not known: `fenced`, `conflict`, `refused` or `unknown`.
    pub fn commit_lost(&self, reason: &'static str) {
        self.0.commit_failures.fetch_add(1, Ordering::Relaxed);
        self.count_reason("sandbar_commit_failures_total", reason);
    }

    /// So many events were taken over from other consumers.
    pub fn taken_over(&self, events: usize) {
        self.0.taken_over.add(events as u64);
    }

    /// So many events were pending but no longer in their stream.
    pub fn vanished(&self, events: u64) {
        self.0.vanished.add(events);
    }

    /// How far the plugin is behind, all of its triggers together. An unknown lag leaves the gauge as it was.
    pub fn backlog(&self, backlog: Backlog) {
        self.0.pending.set(backlog.pending as f64);
        self.0.dead_waiting.set(backlog.dead as f64);
        if let Some(lag) = backlog.lag {
            self.0.lag.set(lag as f64);
        }
        *self.0.backlog.lock() = backlog;
    }

    /// Instances that wait for a call, and those that are in one.
    pub fn instances(&self, warm: usize, busy: usize) {
        self.0.warm.set(warm as f64);
        self.0.busy.set(busy as f64);
    }

    /// The totals as they are now. Not one instant: what happens meanwhile may be in them or not.
    pub fn snapshot(&self) -> Snapshot {
        let numbers = &self.0;
        Snapshot {
            batches: numbers.batches.get(),
            failures: numbers.failures.load(Ordering::Relaxed),
            done: numbers.done.get(),
            retries: numbers.retry.get(),
            dead: numbers.dead.get(),
            commit_failures: numbers.commit_failures.load(Ordering::Relaxed),
            taken_over: numbers.taken_over.get(),
            vanished: numbers.vanished.get(),
            backlog: *numbers.backlog.lock(),
            latency: numbers.latency.spread(),
        }
    }

    fn count_reason(&self, metric: &'static str, reason: &'static str) {
        let (tenant, plugin) = (self.0.tenant.clone(), self.0.plugin.clone());
        counter!(metric, "tenant" => tenant, "plugin" => plugin, "reason" => reason).increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_has_what_was_told() {
        let metrics = PluginMetrics::new("t", "snapshot");
        metrics.handled(10, Duration::from_millis(2));
        metrics.failed("trap");
        metrics.committed(7, Duration::from_millis(1));
        metrics.retried(2);
        metrics.dead(1);
        metrics.commit_lost("fenced");
        metrics.taken_over(3);
        metrics.vanished(4);
        metrics.latencies([Duration::from_millis(5); 7]);
        metrics.backlog(Backlog { pending: 2, lag: Some(9), dead: 1 });
        let told = metrics.clone().snapshot();
        assert_eq!((told.batches, told.failures, told.done, told.retries, told.dead), (1, 1, 7, 2, 1));
        assert_eq!((told.commit_failures, told.taken_over, told.vanished), (1, 3, 4));
        assert_eq!((told.latency.count(), told.backlog.lag), (7, Some(9)));
    }
}
