//! The text that Prometheus reads.
//!
//! The one recorder of the process, the descriptions of all metrics, and the lines of the distributions.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, OnceLock, Weak};

use metrics::{describe_counter, describe_gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;

use super::histogram::Spread;
use super::plugin::Numbers;

/// Upper ends of the exported buckets: 2 to the power of these many microseconds, 32 µs to about 67 s.
const BOUNDS_LOG2_US: std::ops::RangeInclusive<u32> = 5..=26;

/// The numbers of all plugins of the process; those that were dropped are swept when the text is made.
static PLUGINS: Mutex<Vec<Weak<Numbers>>> = Mutex::new(Vec::new());

/// The recorder that counters and gauges go to; a process has one.
static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Makes the text; cheap to clone.
#[derive(Clone)]
pub struct Exporter(PrometheusHandle);

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exporter")
    }
}

impl Exporter {
    /// Installs the recorder of the process, once; later calls answer the same. Where the program that embeds the host
    /// has installed a recorder of its own, counters and gauges go there and only distributions are rendered here.
    pub fn install() -> Self {
        let handle = RECORDER.get_or_init(|| {
            let recorder = PrometheusBuilder::new().build_recorder();
            let handle = recorder.handle();
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::warn!("another metrics recorder is installed: counters and gauges are not served at /metrics");
            }
            describe();
            handle
        });
        Self(handle.clone())
    }

    /// All numbers, in the text format of Prometheus.
    pub fn render(&self) -> String {
        let mut text = self.0.render();
        render_histograms(&mut text);
        render_cpu(&mut text);
        text
    }
}

/// Remembers the numbers of a plugin for [`Exporter::render`].
pub(super) fn register(numbers: &Arc<Numbers>) {
    PLUGINS.lock().push(Arc::downgrade(numbers));
}

fn describe() {
    describe_counter!("sandbar_events_total", "Events by outcome: done, retry or dead");
    describe_counter!("sandbar_batches_total", "Calls of a plugin's handler that ended well");
    describe_counter!("sandbar_handled_total", "Events that a handler answered for, each time it did");
    describe_counter!("sandbar_handler_failures_total", "Calls of a plugin's handler that failed, by reason");
    describe_counter!("sandbar_retries_total", "Events that were put off to be handled again");
    describe_counter!("sandbar_dead_letters_total", "Events that became dead letters");
    describe_counter!("sandbar_commit_failures_total", "Commits that were not made or not known to be, by reason");
    describe_counter!("sandbar_taken_over_total", "Events taken over from consumers that were not heard of");
    describe_counter!("sandbar_vanished_total", "Events that were pending but no longer in their stream");
    describe_counter!("sandbar_store_reconnects_total", "Connections to the store that were lost and made anew");
    describe_counter!("sandbar_journal_replayed_total", "Commits of an outage that were replayed");
    describe_counter!(
        "sandbar_journal_conflicts_total",
        "Commits of an outage that met a changed value or were refused in part"
    );
    describe_counter!("sandbar_journal_refused_total", "Commits of an outage that found the journal full");
    describe_counter!("sandbar_api_refused_total", "Requests to the API that were refused, by reason");
    describe_gauge!("sandbar_degraded", "1 while plugins go on in memory because the store is away, else 0");
    describe_gauge!("sandbar_journal_entries", "Commits of an outage that wait to be replayed");
    describe_counter!(
        "sandbar_cache_total",
        "Tiered reads by what answered: memory, store, stale, negative, loaded or failed"
    );
    describe_gauge!("sandbar_cache_memory_bytes", "Bytes that tiered reads keep in memory");
    describe_counter!(
        "sandbar_outgoing_requests_total",
        "Requests that plugins sent, by outcome: answered, failed or limit"
    );
    describe_counter!("sandbar_limit_hits_total", "Times that a plugin met a limit, by its name");
    describe_gauge!("sandbar_pending", "Events delivered and not yet acknowledged");
    describe_gauge!("sandbar_lag", "Events not yet delivered");
    describe_gauge!("sandbar_dead_letters", "Dead letters that are kept");
    describe_gauge!("sandbar_instances", "Instances by state: warm (waiting for a call) or busy");
    describe_gauge!("sandbar_store_up", "1 while the store answers, else 0");
}

/// A distribution that is exported: its name, its description, and where it is among a plugin's numbers.
type Exported = (&'static str, &'static str, fn(&Numbers) -> Spread);

const EXPORTED: [Exported; 4] = [
    ("sandbar_request_seconds", "Time from the head of a request to the end of its answer", |numbers| {
        numbers.request.spread()
    }),
    ("sandbar_handler_seconds", "Time of one call of a plugin's handler", |numbers| numbers.handler.spread()),
    ("sandbar_commit_seconds", "Time of one commit", |numbers| numbers.commit.spread()),
    ("sandbar_event_latency_seconds", "Time from an event's production to the commit of its effects", |numbers| {
        numbers.latency.spread()
    }),
];

fn render_histograms(text: &mut String) {
    let plugins: Vec<Arc<Numbers>> = {
        let mut plugins = PLUGINS.lock();
        plugins.retain(|numbers| numbers.strong_count() > 0);
        plugins.iter().filter_map(Weak::upgrade).collect()
    };
    for (name, description, spread) in EXPORTED {
        let mut by_labels: BTreeMap<(&str, &str), Spread> = BTreeMap::new();
        for numbers in &plugins {
            by_labels.entry((&numbers.tenant, &numbers.plugin)).or_default().merge(&spread(numbers));
        }
        let lines = by_labels.iter().map(|((tenant, plugin), spread)| (*tenant, *plugin, spread));
        render_histogram(text, name, description, lines);
    }
    let loads = super::cache::load_times();
    let lines = loads.iter().map(|(tenant, plugin, spread)| (tenant.as_str(), plugin.as_str(), spread));
    render_histogram(text, "sandbar_cache_load_seconds", "Time of one call of a plugin's loader", lines);
}

fn render_cpu(text: &mut String) {
    let times = super::cpu::times();
    if times.is_empty() {
        return;
    }
    let name = "sandbar_cpu_seconds_total";
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP {name} Time for which the code of a plugin held a thread\n# TYPE {name} counter");
    for ((tenant, plugin), time) in times {
        let (tenant, plugin) = (escape(&tenant), escape(&plugin));
        let _ = writeln!(text, "{name}{{tenant=\"{tenant}\",plugin=\"{plugin}\"}} {}", time.as_secs_f64());
    }
    let _ = writeln!(text);
}

fn render_histogram<'a>(
    text: &mut String,
    name: &str,
    description: &str,
    series: impl Iterator<Item = (&'a str, &'a str, &'a Spread)>,
) {
    let mut series = series.peekable();
    if series.peek().is_none() {
        return;
    }
    let mut line = |line: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    };
    line(format_args!("# HELP {name} {description}"));
    line(format_args!("# TYPE {name} histogram"));
    for (tenant, plugin, spread) in series {
        let labels = format!("tenant=\"{}\",plugin=\"{}\"", escape(tenant), escape(plugin));
        for bits in BOUNDS_LOG2_US {
            let (bound_us, count) = (1_u64 << bits, spread.at_most_us(1 << bits));
            line(format_args!("{name}_bucket{{{labels},le=\"{}\"}} {count}", bound_us as f64 / 1e6));
        }
        line(format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {}", spread.count()));
        line(format_args!("{name}_sum{{{labels}}} {}", spread.sum().as_secs_f64()));
        line(format_args!("{name}_count{{{labels}}} {}", spread.count()));
    }
    line(format_args!(""));
}

/// A label's value as the text format wants it.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{PluginMetrics, StoreMetrics};
    use super::*;

    #[test]
    fn everything_told_is_rendered_with_its_labels() {
        let exporter = Exporter::install();
        StoreMetrics::new().up(true);
        let metrics = PluginMetrics::new("acme \"1\"", "render");
        metrics.committed(5, Duration::from_millis(3));
        metrics.failed("trap");
        metrics.latency(Duration::from_millis(40));
        metrics.instances(2, 1);
        let text = exporter.render();
        let has = |line: &str| assert!(text.lines().any(|l| l == line), "`{line}` is missing from\n{text}");
        has(r#"sandbar_events_total{tenant="acme \"1\"",plugin="render",outcome="done"} 5"#);
        has(r#"sandbar_handler_failures_total{tenant="acme \"1\"",plugin="render",reason="trap"} 1"#);
        has(r#"sandbar_instances{tenant="acme \"1\"",plugin="render",state="warm"} 2"#);
        has("sandbar_store_up 1");
        has("# TYPE sandbar_event_latency_seconds histogram");
        has(r#"sandbar_event_latency_seconds_bucket{tenant="acme \"1\"",plugin="render",le="0.032768"} 0"#);
        has(r#"sandbar_event_latency_seconds_bucket{tenant="acme \"1\"",plugin="render",le="0.065536"} 1"#);
        has(r#"sandbar_event_latency_seconds_sum{tenant="acme \"1\"",plugin="render"} 0.04"#);
        has(r#"sandbar_commit_seconds_count{tenant="acme \"1\"",plugin="render"} 1"#);
    }

    #[test]
    fn a_dropped_plugin_is_swept() {
        let exporter = Exporter::install();
        drop(PluginMetrics::new("t", "swept"));
        assert!(!exporter.render().contains("_count{tenant=\"t\",plugin=\"swept\""));
    }
}
