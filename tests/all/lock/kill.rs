//! Mutual exclusion: processes work under one lock while they are killed and stopped at random.
//!
//! The short form runs in CI with a fixed seed. `SANDBAR_LONG=1` runs 10,000 critical sections, and `SANDBAR_SEED`
//! chooses the faults. What was found is printed: `cargo test … -- lock::kill --nocapture`.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use sandbar_tests::{RedisServer, poll_until_blocking};

const PROCESSES: usize = 8;
/// Longer than the lock of a stopped holder lives.
const STOPPED: std::ops::Range<Duration> = Duration::from_millis(350)..Duration::from_millis(900);

struct Worker(Child);

impl Worker {
    fn start(url: &str, seed: u64) -> Self {
        let program = env!("CARGO_BIN_EXE_lock-under-test");
        Self(Command::new(program).arg(url).arg(seed.to_string()).spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap(), signal).unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The worker that holds the lock now, if any.
fn holder(server: &RedisServer, workers: &[Worker]) -> Option<usize> {
    let value: Option<String> = server.get(&["GET", "lock:shared"]);
    let process: u32 = value?.split(':').nth(1)?.parse().ok()?;
    workers.iter().position(|worker| worker.0.id() == process)
}

#[test]
fn no_other_process_works_under_a_held_lock() {
    let is_long = std::env::var_os("SANDBAR_LONG").is_some();
    let seed = std::env::var("SANDBAR_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let (sections, faults) = if is_long { (10_000, 150) } else { (600, 10) };
    let server = RedisServer::start();
    let mut random = StdRng::seed_from_u64(seed);
    let mut started = 0;
    let mut start = || {
        started += 1;
        Worker::start(&server.url(), seed.wrapping_add(started))
    };
    let mut workers: Vec<Worker> = (0..PROCESSES).map(|_| start()).collect();
    let done = || server.get::<Option<u64>>(&["GET", "n"]).unwrap_or_default();
    let (mut killed, mut stopped, begun) = (0, 0, Instant::now());
    for fault in 0..faults {
        poll_until_blocking(Duration::from_secs(60), "the work goes on", || done() >= sections * fault / faults);
        // Half of the faults meet the holder of the lock.
        let any = random.random_range(0..PROCESSES);
        let victim = if random.random() { holder(&server, &workers).unwrap_or(any) } else { any };
        if random.random() {
            killed += 1;
            workers[victim] = start();
        } else {
            stopped += 1;
            workers[victim].signal(Signal::STOP);
            std::thread::sleep(random.random_range(STOPPED));
            workers[victim].signal(Signal::CONT);
        }
    }
    poll_until_blocking(Duration::from_secs(60), "all sections are done", || done() >= sections);
    assert!(workers.iter_mut().all(|worker| worker.0.try_wait().unwrap().is_none()), "no worker has ended by itself");
    drop(workers);

    let log: Vec<String> = server.get(&["LRANGE", "log", "0", "-1"]);
    let entries: Vec<(u64, u64)> = log
        .iter()
        .map(|entry| entry.split_once(':').map(|(token, n)| (token.parse().unwrap(), n.parse().unwrap())).unwrap())
        .collect();
    let refused: u64 = server.get::<Option<u64>>(&["GET", "refused"]).unwrap_or_default();
    let overlaps = entries.iter().enumerate().filter(|(at, (_, n))| *n != *at as u64 + 1).count();
    let backwards = entries.windows(2).filter(|pair| pair[0].0 >= pair[1].0).count();
    println!(
        "seed {seed}: {} sections of {PROCESSES} processes in {:?}, {killed} killed, {stopped} stopped: {overlaps} overlaps, \
         {backwards} tokens out of order, {refused} commits refused after the lock was lost",
        entries.len(),
        begun.elapsed(),
    );
    assert_eq!((overlaps, backwards), (0, 0));
    assert!(entries.len() as u64 >= sections);
    assert!(refused > 0, "no stopped holder was overtaken: the faults are too weak to show anything");
}
