//! How long it takes from the moment an event is appended until a subscriber has its result, at [`RATE`] events a
//! second.
//!
//! One thread appends, at fixed times, events that carry the time in place of their timestamp; another one subscribes
//! to all cameras. Both are in this process, so that one clock gives both times.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use redis::{Connection, cmd};

use crate::child::Working;
use crate::stand::Stand;
use crate::variant::Variant;
use crate::workload::{Event, STREAM, Settings, Workload, field};

/// Events a second.
pub(crate) const RATE: u32 = 1_000;
/// The first events do not count: connections, instances and caches get warm on them.
const WARM_UP: Duration = Duration::from_millis(500);
/// How long a result may take.
const LIMIT: Duration = Duration::from_secs(10);
/// What stands before the timestamp of a result.
const NAME: &str = "\"timestamp\":";

/// The latencies of one run, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Latency {
    /// Half of the results came within this time.
    pub(crate) p50_ms: f64,
    /// 99 of 100 results came within this time.
    pub(crate) p99_ms: f64,
}

impl std::fmt::Display for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "latency p50 {:.2} ms, p99 {:.2} ms", self.p50_ms, self.p99_ms)
    }
}

/// Measures a variant once.
pub(crate) fn measure(variant: Variant, workload: &Workload, settings: &Settings, seconds: u32) -> Result<Latency> {
    let warm_up = (WARM_UP.as_secs_f64() * f64::from(RATE)) as usize;
    run(variant, workload, settings, (seconds * RATE) as usize, warm_up)
        .with_context(|| format!("measuring the latency of {variant}"))
}

fn run(variant: Variant, workload: &Workload, settings: &Settings, count: usize, warm_up: usize) -> Result<Latency> {
    let count = count + warm_up;
    let stand = Stand::empty(workload, count.min(workload.events.len()))?;
    let (appending, subscribed) = (stand.connect(), stand.connect());
    let mut working = Working::start(variant, &stand.url(), settings)?;
    working.begin()?;
    let clock = Instant::now();
    let mut latencies = thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(subscribed, clock, count));
        append(appending, clock, workload.events.iter().cycle().take(count))?;
        receiver.join().map_err(|_| anyhow::Error::msg("the subscriber failed"))?
    })?;
    Ok(spread(latencies.split_off(warm_up)))
}

/// Appends events at fixed times.
fn append<'a>(mut connection: Connection, clock: Instant, events: impl Iterator<Item = &'a Event>) -> Result<()> {
    let begun = Instant::now();
    for (number, event) in (0..).zip(events) {
        let (before, behind) = event.data.split_once(&event.timestamp).context("an event without its timestamp")?;
        let (before, behind) = (before.trim_end_matches('"'), behind.trim_start_matches('"'));
        let due = begun + Duration::from_secs(1) * number / RATE;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let data = format!("{before}{}{behind}", clock.elapsed().as_micros());
        cmd("XADD").arg(STREAM).arg("*").arg(field()).arg(data).exec(&mut connection)?;
    }
    Ok(())
}

/// Receives so many results and answers their latencies, in the order in which they came.
fn receive(mut connection: Connection, clock: Instant, count: usize) -> Result<Vec<Duration>> {
    connection.set_read_timeout(Some(LIMIT))?;
    let mut channels = connection.as_pubsub();
    channels.psubscribe("camera:*")?;
    let mut latencies = Vec::with_capacity(count);
    while latencies.len() < count {
        let message = channels.get_message().with_context(|| format!("{} of {count} results came", latencies.len()))?;
        let now = clock.elapsed();
        latencies.push(now.saturating_sub(appended(message.get_payload_bytes()).context("a result without its time")?));
    }
    channels.set_read_timeout(Some(Duration::from_millis(100)))?;
    ensure!(channels.get_message().is_err(), "more results came than there were events");
    Ok(latencies)
}

/// When the event of a result was appended.
fn appended(result: &[u8]) -> Option<Duration> {
    let at = result.windows(NAME.len()).position(|window| window == NAME.as_bytes())?;
    let digits = result.get(at + NAME.len()..)?.split(|byte| !byte.is_ascii_digit()).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok().map(Duration::from_micros)
}

fn spread(mut latencies: Vec<Duration>) -> Latency {
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = (latencies.len() as f64 * share) as usize;
        latencies.get(index.min(latencies.len().saturating_sub(1))).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    Latency { p50_ms: at(0.5), p99_ms: at(0.99) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_found_in_a_result() {
        let result = br#"{"cameraId":"1","timestamp":1500,"detectedObjects":[]}"#;
        assert_eq!(appended(result), Some(Duration::from_micros(1500)));
        assert_eq!(appended(b"{}"), None);
    }

    #[test]
    fn percentiles_of_a_hundred() {
        let Latency { p50_ms, p99_ms } = spread((0..100).map(Duration::from_millis).collect());
        assert_eq!((p50_ms, p99_ms), (50.0, 99.0));
    }
}
