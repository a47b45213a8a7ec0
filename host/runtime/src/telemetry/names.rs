//! Every metric of a host: its name, its kind, and what it says.
//!
//! A metric that is not in this table fails the architecture test, as does one that `docs/metrics.md` does not name.
//! What is written here is the `# HELP` line of Prometheus.

/// See [`METRICS`].
pub(super) const HANDLER_SECONDS: &str = "sandbar_handler_seconds";
/// See [`METRICS`].
pub(super) const COMMIT_SECONDS: &str = "sandbar_commit_seconds";
/// See [`METRICS`].
pub(super) const EVENT_LATENCY_SECONDS: &str = "sandbar_event_latency_seconds";
/// See [`METRICS`].
pub(super) const REQUEST_SECONDS: &str = "sandbar_request_seconds";
/// See [`METRICS`].
pub(super) const CPU_SECONDS_TOTAL: &str = "sandbar_cpu_seconds_total";
/// See [`METRICS`].
pub(super) const CACHE_LOAD_SECONDS: &str = "sandbar_cache_load_seconds";

/// What Prometheus does with a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It counts in buckets.
    Histogram,
}

/// A metric.
#[derive(Debug)]
pub(super) struct Metric {
    /// Its name.
    pub(super) name: &'static str,
    /// Its kind.
    pub(super) kind: Kind,
    /// What it says.
    pub(super) help: &'static str,
}

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, help }
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, help }
}

const fn histogram(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, help }
}

/// All metrics.
pub(super) const METRICS: &[Metric] = &[
    counter("sandbar_events_total", "Events by outcome: done, retry or dead"),
    counter("sandbar_batches_total", "Calls of a handler that ended well"),
    counter("sandbar_handled_total", "Events that a handler answered for, each time it did"),
    counter("sandbar_handler_failures_total", "Calls of a handler that failed, by reason"),
    counter("sandbar_commit_failures_total", "Commits that were not made, or of which it is not known, by reason"),
    counter("sandbar_retries_total", "Events that are retried later"),
    counter("sandbar_dead_letters_total", "Events that were dead-lettered"),
    counter("sandbar_taken_over_total", "Events taken over from silent hosts, and jobs that came back from them"),
    counter("sandbar_vanished_total", "Events that were pending but no longer in their stream"),
    gauge("sandbar_pending", "Events delivered and not acknowledged, or jobs leased"),
    gauge("sandbar_lag", "Events not yet delivered, or jobs ready or delayed"),
    gauge("sandbar_dead_letters", "Dead letters that are kept"),
    gauge("sandbar_instances", "Instances by state: warm (waiting for a call) or busy"),
    histogram(HANDLER_SECONDS, "Time of one call of a handler"),
    histogram(COMMIT_SECONDS, "Time of one commit"),
    histogram(EVENT_LATENCY_SECONDS, "Time from the production of an event to the commit of its effects"),
    counter("sandbar_requests_total", "Requests to plugins, by class of status; 499 where the client did not wait"),
    histogram(REQUEST_SECONDS, "Time from the head of a request to the end of its answer"),
    counter(CPU_SECONDS_TOTAL, "Time for which the code of a plugin held a thread"),
    counter("sandbar_limit_hits_total", "Times that a plugin reached a limit, by its name"),
    counter("sandbar_dropped_total", "Messages of channels that were lost, by reason"),
    counter("sandbar_outgoing_requests_total", "Requests that plugins sent, by outcome: answered, failed or limit"),
    counter("sandbar_locks_total", "Locks asked for, by outcome: acquired or timed-out"),
    counter("sandbar_locks_lost_total", "Locks that were lost while they were held"),
    counter("sandbar_ticks_total", "Ticks of schedules that were run, by outcome: done, failed or refused"),
    counter("sandbar_ticks_skipped_total", "Ticks of schedules that were skipped"),
    counter("sandbar_cache_total", "Tiered reads by what answered: memory, store, stale, negative, loaded or failed"),
    gauge("sandbar_cache_memory_bytes", "Bytes that tiered reads keep in memory"),
    histogram(CACHE_LOAD_SECONDS, "Time of one call of a loader"),
    counter("sandbar_api_refused_total", "Requests to the API that were refused, by reason"),
    gauge("sandbar_probation", "1 while a version is on probation, else 0"),
    gauge("sandbar_probation_failure_rate", "Share of the events of a version on probation that failed"),
    counter("sandbar_probation_failed_total", "Versions that failed probation, by reason"),
    counter("sandbar_trial_events_total", "Events of the two versions of a canary, by role and outcome"),
    counter("sandbar_shadow_events_total", "Events in which a shadow was compared"),
    counter(
        "sandbar_shadow_skipped_total",
        "Events that a shadow did not get: it was too slow, or their recording was too large",
    ),
    counter("sandbar_shadow_differences_total", "Differences between a shadow and the active version, by kind"),
    counter("sandbar_recordings_skipped_total", "Batches whose recording was too large to be kept"),
    gauge("sandbar_store_up", "1 while the store answers, else 0"),
    counter("sandbar_store_reconnects_total", "Connections to the store that were lost and made again"),
    gauge("sandbar_degraded", "1 while plugins continue in memory because the store is unreachable, else 0"),
    gauge("sandbar_journal_entries", "Commits of an outage that wait to be replayed"),
    counter("sandbar_journal_replayed_total", "Commits of an outage that were replayed"),
    counter(
        "sandbar_journal_conflicts_total",
        "Commits of an outage that overwrote a changed value, or were refused in part",
    ),
    counter("sandbar_journal_refused_total", "Commits of an outage that found the journal full"),
];

/// What a metric says.
pub(super) fn help(name: &str) -> &'static str {
    METRICS.iter().find(|metric| metric.name == name).map_or("", |metric| metric.help)
}
