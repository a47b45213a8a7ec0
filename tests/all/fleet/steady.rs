//! Versions are replaced again and again under a steady load: nothing is lost, nothing doubled, and commits hardly
//! pause.
//!
//! The short form runs in CI. `SANDBAR_LONG=1` replaces 200 times near half of the capacity, which is measured first.
//! The longest pauses of the replacements are printed: `cargo test … -- steady --nocapture`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sandbar_fleet::Fleet;
use sandbar_tests::host::PATIENCE;
use sandbar_tests::{Counted, Group, RedisServer, poll_until};

use super::{PLUGIN, TENANT, cache, deploy, process};
use crate::replace::{CAMERAS, Feed, redis};

/// Replacements of the short and of the long form.
const REPLACEMENTS: [u64; 2] = [20, 200];
/// Events per second of the short form.
const SHORT_RATE: u64 = 1000;
/// Events by which the capacity is measured.
const CAPACITY_EVENTS: u64 = 20_000;
/// How much more memory the host may have at the end than after its first replacements. Versions whose code is not
/// needed any more are gone, so hundreds of them would be much more.
const GROWTH_MAX: u64 = 48 << 20;

/// When commits were made, in seconds since 1970 by the server's clock: it reports each command as it runs it.
struct Monitor {
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<Vec<f64>>>,
}

impl Monitor {
    fn start(server: &RedisServer) -> Self {
        let url = server.url();
        let mut socket = UnixStream::connect(url.strip_prefix("unix://").unwrap()).unwrap();
        socket.write_all(b"MONITOR\r\n").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let reader = std::thread::spawn(move || {
            let (mut lines, mut times, mut line) = (BufReader::new(socket), Vec::new(), Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                match lines.read_until(b'\n', &mut line) {
                    Ok(0) => break,
                    // Half a line is kept for the next round.
                    Err(_) => continue,
                    Ok(_) => {}
                }
                let text = String::from_utf8_lossy(&line);
                if text.contains("\"RPUSH\" \"marks\"") {
                    let time = text.trim_start_matches('+').split(' ').next().unwrap();
                    times.push(time.parse().unwrap());
                }
                line.clear();
            }
            times
        });
        Self { stop, reader: Some(reader) }
    }

    fn end(mut self) -> Vec<f64> {
        self.stop.store(true, Ordering::Relaxed);
        self.reader.take().unwrap().join().unwrap()
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// The longest time between two commits that lies within or reaches into a span.
fn longest_gap(times: &[f64], (begin, end): (f64, f64)) -> f64 {
    let from = times.partition_point(|time| *time < begin).saturating_sub(1);
    let to = times.partition_point(|time| *time <= end).min(times.len() - 1);
    times[from..=to].windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max)
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent).div_ceil(100).saturating_sub(1)] * 1000.0
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_replaced_without_a_pause() {
    let is_long = std::env::var_os("SANDBAR_LONG").is_some();
    let replacements = REPLACEMENTS[usize::from(is_long)];
    let server = Arc::new(RedisServer::start());
    let fleet = Fleet::new(redis(&server).await, "");
    let cache = cache();
    let (host, _) = process(&server, &cache, "[engine]\ninstances = 64");
    fleet.deploy(TENANT, deploy(0)).await.unwrap();
    let rate = if is_long { capacity(&server, &fleet).await / 2 } else { SHORT_RATE };

    let monitor = Monitor::start(&server);
    let feed = Feed::start(&server, rate);
    let (mut spans, mut memory) = (Vec::new(), Vec::new());
    for number in 1..=replacements {
        let begin = now();
        fleet.deploy(TENANT, deploy(number)).await.unwrap();
        let mark = number.to_string();
        poll_until(PATIENCE, "the new version gets events", async || {
            server.get::<Option<String>>(&["LINDEX", "marks", "-1"]) == Some(mark.clone())
        })
        .await;
        spans.push((begin, now()));
        memory.push(host.resident_bytes());
    }
    let fed = feed.end();
    Group::new(&server, "events", PLUGIN).settled(PATIENCE);
    let times = monitor.end();
    assert_eq!(Counted::of(&server, CAMERAS, 0..fed), Counted::EXACT, "of {fed} events");
    let marks: Vec<u64> = server.get(&["LRANGE", "marks", "0", "-1"]);
    assert_eq!(marks.len() as u64, fed, "each event was handled by one version");
    assert!(marks.is_sorted(), "a version got events after its successor had begun");

    let mut gaps: Vec<f64> = spans.iter().map(|span| longest_gap(&times, *span)).collect();
    gaps.sort_by(f64::total_cmp);
    let mut all: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    all.sort_by(f64::total_cmp);
    let (early, last) = (memory[9], memory[memory.len() - 1]);
    println!(
        "{replacements} replacements at {rate} events/s, {fed} events: longest gap between commits in each p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms; all gaps p99 {:.1} ms; memory after 10: {} MiB, at the end: {} MiB",
        percentile(&gaps, 50),
        percentile(&gaps, 99),
        percentile(&gaps, 100),
        percentile(&all, 99),
        early >> 20,
        last >> 20,
    );
    assert!(last < early + GROWTH_MAX, "the host grew from {early} to {last} bytes");
    assert!(host.terminate());
}

/// Events per second that the host handles when it has more than enough of them. Leaves nothing behind.
async fn capacity(server: &RedisServer, fleet: &Fleet) -> u64 {
    server.append_counted("events", CAMERAS, 0..CAPACITY_EVENTS);
    let begun = Instant::now();
    Group::new(server, "events", PLUGIN).settled(PATIENCE * 5);
    let rate = (CAPACITY_EVENTS as f64 / begun.elapsed().as_secs_f64()) as u64;
    for camera in 0..CAMERAS {
        server.ask(&["DEL", &format!("seen:{camera}"), &format!("count:{camera}")]);
    }
    server.ask(&["DEL", "marks"]);
    println!("capacity: {rate} events/s, on {} host", fleet.nodes().await.unwrap().len());
    rate
}
