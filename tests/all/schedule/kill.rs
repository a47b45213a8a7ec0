//! Each tick is run once and none overlaps another, while hosts are killed and stopped at random.
//!
//! The short form runs in CI with a fixed seed. `SANDBAR_LONG=1` runs 200 ticks, and `SANDBAR_SEED` chooses the faults.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sandbar_tests::process::HostProcess;
use sandbar_tests::{RedisServer, components, poll_until_blocking};
use sandbar_triggers::schedule::Run;

use super::CLOCK_MS;

const HOSTS: usize = 5;
const EVERY_MS: u64 = 100;
/// How long a tick takes: most of the time one is being run.
const BUSY_MS: &str = "60";
/// Longer than the lock of a stopped host lives.
const STOPPED: Duration = Duration::from_secs(6);

#[test]
fn each_tick_is_run_once_and_none_overlaps() {
    let is_long = std::env::var_os("SANDBAR_LONG").is_some();
    let seed = std::env::var("SANDBAR_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let (wanted, faults) = if is_long { (200, 20) } else { (40, 4) };
    let server = RedisServer::start();
    server.ask(&["SET", "do:schedule", BUSY_MS]);
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("plugin.toml");
    let trigger = format!(
        "[[trigger]]\ntype = \"schedule\"\nevery = \"{EVERY_MS}ms\"\nmissed = \"catch-up\"\noverlap = \"wait\"\n\
         catch-up-max = 10000\nhistory = 10000\n"
    );
    let grants = "[grants]\nread = [\"*\"]\nwrite = [\"*\"]\n";
    std::fs::write(&manifest, format!("name = \"guest\"\n{trigger}{grants}")).unwrap();
    let start = || {
        HostProcess::start(env!("CARGO_BIN_EXE_host-under-test"), &server.url(), &manifest, components::TICK_ALL, None)
    };
    let mut hosts: Vec<HostProcess> = (0..HOSTS).map(|_| start()).collect();
    let mut random = StdRng::seed_from_u64(seed);
    let done = || server.get::<u64>(&["LLEN", "ticks:schedule"]);
    let (mut killed, mut stopped, begun) = (0, 0, Instant::now());
    for fault in 0..faults {
        poll_until_blocking(Duration::from_secs(120), "ticks are run", || done() > wanted * fault / faults);
        std::thread::sleep(Duration::from_millis(random.random_range(0..EVERY_MS)));
        let first = random.random_range(0..HOSTS);
        // Several at once, so that it is likely to meet the one that runs a tick.
        if fault % 2 == 1 {
            stopped += 4;
            let victims = || (0..4).map(|at| (first + at) % HOSTS);
            victims().for_each(|victim| hosts[victim].pause());
            std::thread::sleep(STOPPED);
            victims().for_each(|victim| hosts[victim].resume());
        } else {
            for at in 0..3 {
                killed += 1;
                hosts[(first + at) % HOSTS] = start();
            }
        }
    }
    poll_until_blocking(Duration::from_secs(120), "all ticks are run", || done() >= wanted);
    drop(hosts);

    let ticks: Vec<u64> = server.get(&["LRANGE", "ticks:schedule", "0", "-1"]);
    let lines: Vec<String> = server.get(&["LRANGE", "sandbar:schedule:guest:schedule:history", "0", "-1"]);
    let mut runs: Vec<Run> = lines.iter().map(|line| Run::parse(line.as_bytes()).unwrap()).collect();
    runs.reverse();
    let missing_or_double = ticks.windows(2).filter(|pair| pair[0] + EVERY_MS != pair[1]).count();
    let overlaps =
        runs.windows(2).filter(|pair| pair[0].started + pair[0].duration_ms > pair[1].started + CLOCK_MS).count();
    let calls: u64 = server.get(&["GET", "runs:schedule"]);
    println!(
        "seed {seed}: {} ticks by {HOSTS} hosts in {:?}, {killed} killed, {stopped} stopped: {missing_or_double} missing or \
         double, {overlaps} overlapping; {} runs were cut off and repeated",
        ticks.len(),
        begun.elapsed(),
        calls - ticks.len() as u64,
    );
    assert_eq!((missing_or_double, overlaps), (0, 0), "{ticks:?}");
    assert_eq!(runs.iter().map(|run| run.tick).collect::<Vec<_>>(), ticks, "each is in the history, once");
    assert!(ticks.len() as u64 >= wanted);
}
