//! The text that Prometheus reads.
//!
//! Counters and gauges are rendered by the exporter that records them. Distributions are rendered here: the exporter
//! keeps each sample until the text is made, so that its memory grows with the rate of events, while
//! [`Histogram`](super::Histogram) counts in fixed buckets. CPU times are rendered here too, because counters of the
//! exporter are whole numbers.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::OnceLock;

use metrics::{describe_counter, describe_gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::histogram::Spread;
use super::names::{self, Kind, METRICS, Metric};
use super::plugin::{self, Numbers};

/// Upper ends of the exported buckets: 2 to the power of these many microseconds, 32 µs to about 67 s.
const BOUNDS_LOG2_US: std::ops::RangeInclusive<u32> = 5..=26;

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

fn describe() {
    for Metric { name, kind, help } in METRICS {
        match kind {
            Kind::Counter => describe_counter!(*name, *help),
            Kind::Gauge => describe_gauge!(*name, *help),
            // Rendered here, with their descriptions.
            Kind::Histogram => {}
        }
    }
}

/// A distribution of a plugin: its name, and where it is among the plugin's numbers.
type Distribution = (&'static str, fn(&Numbers) -> Spread);

const DISTRIBUTIONS: [Distribution; 4] = [
    (names::REQUEST_SECONDS, |numbers| numbers.request.spread()),
    (names::HANDLER_SECONDS, |numbers| numbers.handler.spread()),
    (names::COMMIT_SECONDS, |numbers| numbers.commit.spread()),
    (names::EVENT_LATENCY_SECONDS, |numbers| numbers.latency.spread()),
];

fn render_histograms(text: &mut String) {
    let plugins = plugin::all();
    for (name, spread) in DISTRIBUTIONS {
        let mut by_labels: BTreeMap<(&str, &str), Spread> = BTreeMap::new();
        for numbers in &plugins {
            by_labels.entry((&numbers.tenant, &numbers.plugin)).or_default().merge(&spread(numbers));
        }
        let lines = by_labels.iter().map(|((tenant, plugin), spread)| (*tenant, *plugin, spread));
        render_histogram(text, name, lines);
    }
    let loads = super::cache::load_times();
    let lines = loads.iter().map(|(tenant, plugin, spread)| (tenant.as_str(), plugin.as_str(), spread));
    render_histogram(text, names::CACHE_LOAD_SECONDS, lines);
}

fn render_cpu(text: &mut String) {
    let times = super::cpu::times();
    if times.is_empty() {
        return;
    }
    let (name, help) = (names::CPU_SECONDS_TOTAL, names::help(names::CPU_SECONDS_TOTAL));
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
    for ((tenant, plugin), time) in times {
        let (tenant, plugin) = (escape(&tenant), escape(&plugin));
        let _ = writeln!(text, "{name}{{tenant=\"{tenant}\",plugin=\"{plugin}\"}} {}", time.as_secs_f64());
    }
    let _ = writeln!(text);
}

fn render_histogram<'a>(text: &mut String, name: &str, series: impl Iterator<Item = (&'a str, &'a str, &'a Spread)>) {
    let mut series = series.peekable();
    if series.peek().is_none() {
        return;
    }
    let mut line = |line: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    };
    line(format_args!("# HELP {name} {}", names::help(name)));
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
