//! The medians of all rounds: a table for people, and a line for programs.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::latency::{Latency, RATE};
use crate::throughput::Run;
use crate::variant::Variant;
use crate::workload::{Settings, Workload};

/// What has been measured.
#[derive(Debug)]
pub(crate) struct Report {
    input: Value,
    title: String,
    runs: BTreeMap<Variant, Vec<Run>>,
    latencies: BTreeMap<Variant, Vec<Latency>>,
}

impl Report {
    /// A report without measurements.
    pub(crate) fn new(settings: &Settings, workload: &Workload, rounds: u32) -> Self {
        let Settings { events, batch, in_flight, prefetch, .. } = settings;
        let bytes = workload.mean_bytes();
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        Self {
            input: json!({
                "rounds": rounds, "events": events, "event_bytes": bytes, "batch": batch, "in_flight": in_flight,
                "prefetch": prefetch, "cores": cores, "build": build,
            }),
            title: format!(
                "Medians of {rounds} interleaved rounds of {events} events of {bytes} bytes, batches of {batch}, \
                 {in_flight} in flight, {cores} cores, {build} build"
            ),
            runs: BTreeMap::new(),
            latencies: BTreeMap::new(),
        }
    }

    /// Adds a run.
    pub(crate) fn add_run(&mut self, variant: Variant, run: Run) {
        self.runs.entry(variant).or_default().push(run);
    }

    /// Adds latencies.
    pub(crate) fn add_latency(&mut self, variant: Variant, latency: Latency) {
        self.latencies.entry(variant).or_default().push(latency);
    }

    /// Prints the table, what limits it, and the line.
    pub(crate) fn print(&self) -> Result<()> {
        println!("\n{}\n", self.title);
        println!("| | events/s | client, µs of CPU an event | server, µs of CPU an event | to (b) |");
        println!("| --- | --- | --- | --- | --- |");
        for variant in self.runs.keys() {
            let (rate, client, server) = (
                self.median(*variant, |run| run.rate),
                self.median(*variant, |run| run.client_us),
                self.median(*variant, |run| run.server_us),
            );
            let ratio = self.ratio(*variant, Variant::Native).map_or(String::new(), |ratio| format!("{ratio:.2}"));
            println!("| {} | {rate:.0} | {client:.1} | {server:.1} | {ratio} |", variant.title());
        }
        println!("\n| from XADD to the subscriber, {RATE} events/s | p50, ms | p99, ms |");
        println!("| --- | --- | --- |");
        for variant in self.latencies.keys() {
            let (p50, p99) = self.latency(*variant);
            println!("| {} | {p50:.2} | {p99:.2} |", variant.title());
        }
        println!("\n{}\n", self.limits());
        println!("{}", serde_json::to_string(&self.line())?);
        Ok(())
    }

    /// What keeps the plugin from being faster.
    fn limits(&self) -> String {
        let cost = |variant| (self.median(variant, |run| run.client_us), self.median(variant, |run| run.server_us));
        let (client, server) = cost(Variant::Plugin);
        let rate = self.median(Variant::Plugin, |run| run.rate);
        let cores = (client + server) * rate / 1e6;
        let (native, _) = cost(Variant::Native);
        format!(
            "What limits it: host and server together keep {cores:.1} cores busy, {:.0} % of that in the host. An event \
             costs the host {:.1} µs more than the native consumer: the same parsing in WebAssembly, events and results \
             copied into and out of the sandbox, checks of grants and limits. The server runs on one thread, so it \
             bounds any client at {:.0} events/s.",
            100.0 * client / (client + server),
            client - native,
            1e6 / server,
        )
    }

    fn line(&self) -> Value {
        let mut line = Map::new();
        for variant in self.runs.keys() {
            let median = |of: fn(&Run) -> f64| rounded(self.median(*variant, of));
            line.insert(
                variant.name().to_owned(),
                json!({
                    "events_per_s": median(|run| run.rate),
                    "client_cpu_us": median(|run| run.client_us),
                    "server_cpu_us": median(|run| run.server_us),
                }),
            );
        }
        for (name, a, b) in [
            ("plugin_vs_native", Variant::Plugin, Variant::Native),
            ("plugin_vs_python", Variant::Plugin, Variant::Python),
            ("native_vs_raw", Variant::Native, Variant::Raw),
        ] {
            line.insert(name.to_owned(), json!(self.ratio(a, b).map(rounded)));
        }
        for variant in self.latencies.keys() {
            let (p50, p99) = self.latency(*variant);
            let latency = json!({ "p50_ms": rounded(p50), "p99_ms": rounded(p99) });
            line.insert(format!("{}_latency", variant.name()), latency);
        }
        line.insert("input".to_owned(), self.input.clone());
        Value::Object(line)
    }

    fn median(&self, variant: Variant, of: impl Fn(&Run) -> f64) -> f64 {
        median(self.runs.get(&variant).into_iter().flatten().map(of).collect())
    }

    /// The median of the rounds' own ratios: what else the machine does changes from round to round.
    fn ratio(&self, a: Variant, b: Variant) -> Option<f64> {
        let rounds = self.runs.get(&a)?.iter().zip(self.runs.get(&b)?);
        Some(median(rounds.map(|(a, b)| a.rate / b.rate).collect()))
    }

    fn latency(&self, variant: Variant) -> (f64, f64) {
        let all = || self.latencies.get(&variant).into_iter().flatten();
        (median(all().map(|latency| latency.p50_ms).collect()), median(all().map(|latency| latency.p99_ms).collect()))
    }
}

/// The middle one, or the mean of the two in the middle; not a number where there is none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    match (values.get(low), values.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => f64::NAN,
    }
}

/// Three decimals are enough for programs, too.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(vec![]).is_nan());
    }
}
