//! What `sandbar dev` prints each second.
//!
//! Pure: two states of the totals in, one line or one object out.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;

use sandbar_runtime::telemetry::{Snapshot, Spread};

/// Remembers the totals of the last time.
#[derive(Debug, Default)]
pub(super) struct Tally {
    last: HashMap<String, Snapshot>,
}

/// What happened within a period, all plugins together.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Summary {
    /// Events handled and committed, per second.
    events_per_s: f64,
    /// Half of all events were committed within this time after they were produced, in milliseconds.
    p50_ms: Option<f64>,
    /// The same for 99 of 100 events.
    p99_ms: Option<f64>,
    /// Events that were put off in this period.
    retries: u64,
    /// Dead letters of this period.
    dead_letters: u64,
    /// Calls that failed in this period.
    failures: u64,
    /// Events that are not yet handled, now.
    lag: u64,
    /// Events that are being handled or wait for a retry, now.
    pending: u64,
}

impl Tally {
    /// What happened since the last call, `period` ago.
    pub(super) fn turn(&mut self, plugins: Vec<(String, Snapshot)>, period: Duration) -> Summary {
        let mut summary = Summary::default();
        let mut latency = Spread::default();
        let mut done = 0;
        for (name, now) in &plugins {
            let nothing = Snapshot::default();
            let then = self.last.get(name).unwrap_or(&nothing);
            done += now.done.saturating_sub(then.done);
            summary.retries += now.retries.saturating_sub(then.retries);
            summary.dead_letters += now.dead.saturating_sub(then.dead);
            summary.failures += now.failures.saturating_sub(then.failures);
            summary.lag += now.backlog.lag.unwrap_or(0);
            summary.pending += now.backlog.pending;
            latency.merge(&now.latency.since(&then.latency));
        }
        self.last = plugins.into_iter().collect();
        summary.events_per_s = (done as f64 / period.as_secs_f64().max(1e-9)).round();
        let ms = |share| latency.quantile(share).map(|time| time.as_micros() as f64 / 1e3);
        (summary.p50_ms, summary.p99_ms) = (ms(0.5), ms(0.99));
        summary
    }
}

impl Summary {
    /// One line for people.
    pub(super) fn line(&self) -> String {
        let latency = match (self.p50_ms, self.p99_ms) {
            (Some(p50), Some(p99)) => format!("p50 {}  p99 {}", short(p50), short(p99)),
            _ => "p50 –  p99 –".to_owned(),
        };
        let failures = if self.failures > 0 { format!("  failed calls {}", self.failures) } else { String::new() };
        format!(
            "{} events/s  {latency}  retries {}  dead letters {}  lag {}{failures}",
            thousands(self.events_per_s as u64),
            self.retries,
            self.dead_letters,
            thousands(self.lag)
        )
    }
}

/// Milliseconds in three digits or so.
fn short(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 10_000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.0} s", ms / 1e3),
    }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbar_runtime::telemetry::PluginMetrics;
    use sandbar_store::Backlog;

    #[test]
    fn a_line_tells_the_difference_of_one_period() {
        let metrics = PluginMetrics::new("t", "summary");
        let mut tally = Tally::default();
        let mut turn = || tally.turn(vec![("a".to_owned(), metrics.snapshot())], Duration::from_secs(2));
        insta::assert_snapshot!(turn().line(), @"0 events/s  p50 –  p99 –  retries 0  dead letters 0  lag 0");
        metrics.committed(24_690, Duration::from_millis(3));
        metrics.latencies((1..=1000).map(Duration::from_micros));
        metrics.retried(3);
        metrics.dead(1);
        metrics.backlog(Backlog { pending: 5, lag: Some(1_234_567), dead: 9 });
        let summary = turn();
        insta::assert_snapshot!(summary.line(), @"12,345 events/s  p50 0.5 ms  p99 1.0 ms  retries 3  dead letters 1  lag 1,234,567");
        insta::assert_snapshot!(serde_json::to_string(&summary).unwrap(), @r#"{"events_per_s":12345.0,"p50_ms":0.512,"p99_ms":1.024,"retries":3,"dead_letters":1,"failures":0,"lag":1234567,"pending":5}"#);
        metrics.failed("trap");
        insta::assert_snapshot!(turn().line(), @"0 events/s  p50 –  p99 –  retries 0  dead letters 0  lag 1,234,567  failed calls 1");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            ["0.4 ms", "38 ms", "2400 ms", "75 s"],
            [0.42, 38.2, 2400.0, 75_000.0].map(short).each_ref().map(String::as_str)
        );
        assert_eq!(
            ["0", "999", "1,000", "12,345,678"],
            [0, 999, 1000, 12_345_678].map(thousands).each_ref().map(String::as_str)
        );
    }
}
