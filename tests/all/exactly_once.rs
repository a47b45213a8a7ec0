//! Nothing lost, nothing doubled: hosts are killed and stopped, connections are cut, replies are lost or come late,
//! and Redis itself is killed, while events with effects that can be counted flow.
//!
//! The short form runs in CI with a fixed seed. `SANDBAR_LONG=1` runs the long one (100,000 events, at least 50
//! faults by signals alone), and `SANDBAR_SEED` chooses the faults. The counts are printed: `cargo test … --
//! exactly_once --nocapture`.
//!
//! The same run without the fence, and without the increment of the fence after a lost reply, must show doubled
//! events: that proves that the faults are hard enough to notice.

mod queue;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sandbar_tests::process::HostProcess;
use sandbar_tests::{Faults, Group, Options, Proxy, RedisServer, components, open_manifest, poll_until_blocking};

const CAMERAS: u64 = 20;
/// Longer than `claim-idle` below, so that a host that is stopped this long is taken for dead.
const STOPPED: std::ops::Range<Duration> = Duration::from_millis(400)..Duration::from_millis(1500);
const TRIGGER: &str =
    "batch = 50\nconcurrency = 3\nprefetch = 2\nclaim-idle = \"300ms\"\nretry-min = \"10ms\"\nretry-max = \"100ms\"";
/// How long the last events may take once nothing is disturbed any more.
const SETTLE: Duration = Duration::from_secs(180);

/// Where the events come from.
trait Work {
    /// The plugin's manifest and component.
    fn plugin(&self) -> (String, &'static str);
    /// Produces the events of these numbers.
    fn feed(&self, server: &RedisServer, numbers: std::ops::Range<u64>);
    /// Whether nothing is left to be handled. Asked again and again at the end.
    fn is_settled(&self, server: &RedisServer) -> bool;
}

struct Stream;

impl Work for Stream {
    fn plugin(&self) -> (String, &'static str) {
        (open_manifest(TRIGGER, ""), components::HANDLE_COUNT)
    }

    fn feed(&self, server: &RedisServer, numbers: std::ops::Range<u64>) {
        feed(server, numbers);
    }

    fn is_settled(&self, server: &RedisServer) -> bool {
        Group::new(server, "events", "guest").is_settled()
    }
}

struct Plan {
    seed: u64,
    events: u64,
    faults: u32,
    protocol: Option<&'static str>,
    /// How likely a commit's request is spoiled, for each kind of fault of the proxy.
    spoiled: f64,
    signals: bool,
}

#[derive(Default)]
struct Tally {
    lost: u64,
    doubled: u64,
    kinds: BTreeMap<&'static str, u32>,
    proxy: String,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lost {}, doubled {}; {:?}; proxy: {}", self.lost, self.doubled, self.kinds, self.proxy)
    }
}

fn is_long() -> bool {
    std::env::var_os("SANDBAR_LONG").is_some()
}

fn seed(default: u64) -> u64 {
    std::env::var("SANDBAR_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(default)
}

#[test]
fn every_event_takes_effect_once() {
    let (events, faults) = if is_long() { (100_000, 100) } else { (6_000, 14) };
    let plan = Plan { seed: seed(1), events, faults, protocol: None, spoiled: 0.02, signals: true };
    let tally = run(&Stream, &plan);
    assert_eq!((tally.lost, tally.doubled), (0, 0), "seed {}: {tally}", plan.seed);
}

#[test]
fn without_the_fence_events_are_doubled() {
    let plan =
        Plan { seed: seed(2), events: 20_000, faults: 40, protocol: Some("unfenced"), spoiled: 0.0, signals: true };
    let tally = run(&Stream, &plan);
    assert!(tally.doubled > 0, "seed {}: the faults are too weak to show anything: {tally}", plan.seed);
}

#[test]
fn without_the_increment_after_a_lost_reply_events_are_doubled() {
    let protocol = Some("no-fence-after-lost-reply");
    let plan = Plan { seed: seed(3), events: 20_000, faults: 40, protocol, spoiled: 0.05, signals: false };
    let tally = run(&Stream, &plan);
    assert!(tally.doubled > 0, "seed {}: the faults are too weak to show anything: {tally}", plan.seed);
}

/// Feeds events in portions with a fault after each, waits until all are settled, and counts. A protocol that is
/// broken on purpose is run only until the first doubled event.
fn run(work: &impl Work, plan: &Plan) -> Tally {
    let server = RedisServer::with(Options::new().port().append_only());
    let proxy = Proxy::start(server.port(), spoil(plan.spoiled), plan.seed);
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("plugin.toml");
    let (text, component) = work.plugin();
    std::fs::write(&manifest, text).unwrap();
    let start = || {
        let program = env!("CARGO_BIN_EXE_host-under-test");
        HostProcess::start(program, &proxy.url(), &manifest, component, plan.protocol)
    };
    let mut hosts = [start(), start()];
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut tally = Tally::default();
    let portion = plan.events / u64::from(plan.faults);
    let mut fed = 0;
    for _ in 0..plan.faults {
        work.feed(&server, fed..fed + portion);
        fed += portion;
        std::thread::sleep(Duration::from_millis(random.random_range(0..150)));
        let victim = usize::from(random.random::<bool>());
        let kind = if plan.signals { random.random_range(0..10) } else { 100 };
        let name = match kind {
            0..=2 => {
                hosts[victim] = start();
                "host killed"
            }
            3..=5 => {
                hosts[victim].pause();
                std::thread::sleep(random.random_range(STOPPED));
                hosts[victim].resume();
                "host stopped"
            }
            6..=7 => {
                server.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
                "connections cut"
            }
            8 => {
                server.kill();
                server.restart();
                "redis killed"
            }
            9 => {
                hosts.iter().for_each(HostProcess::pause);
                std::thread::sleep(Duration::from_millis(400));
                hosts.iter().for_each(HostProcess::resume);
                "both hosts stopped"
            }
            _ => "none but the proxy's",
        };
        *tally.kinds.entry(name).or_default() += 1;
        if plan.protocol.is_some() {
            tally.doubled = count(&server, 0).1;
            if tally.doubled > 0 {
                break;
            }
        }
    }
    proxy.set_faults(Faults::none());
    if tally.doubled == 0 {
        let begun = Instant::now();
        poll_until_blocking(SETTLE, "all events are settled", || {
            work.is_settled(&server) || (plan.protocol.is_some() && begun.elapsed() > SETTLE / 3)
        });
        (tally.lost, tally.doubled) = count(&server, fed);
    }
    tally.proxy = proxy.counts().to_string();
    println!("seed {}, {} events, {:?}: {tally}", plan.seed, fed, plan.protocol);
    tally
}

/// Spoils the requests that commit, and lets the rest pass.
fn spoil(rate: f64) -> Faults {
    if rate == 0.0 {
        return Faults::none();
    }
    let late_for = Duration::from_millis(50)..Duration::from_millis(400);
    Faults { late_for, stall: rate / 4.0, late: rate * 2.0, ..Faults::lossy(rate, b"EXEC") }
}

fn feed(server: &RedisServer, range: std::ops::Range<u64>) {
    let mut pipeline = redis::pipe();
    for seq in range {
        let camera = seq % CAMERAS;
        pipeline.cmd("XADD").arg("events").arg("*").arg("camera").arg(camera).arg("seq").arg(seq).ignore();
    }
    pipeline.query::<()>(&mut server.connect()).unwrap();
}

/// How many of the first `fed` events took no effect, and how many effects there are too many, by lists and by counts.
fn count(server: &RedisServer, fed: u64) -> (u64, u64) {
    let mut connection = server.connect();
    let (mut lost, mut doubled) = (0, 0);
    for camera in 0..CAMERAS {
        let seen: Vec<u64> =
            redis::cmd("LRANGE").arg(format!("seen:{camera}")).arg(0).arg(-1).query(&mut connection).unwrap();
        let counted: Option<u64> = redis::cmd("GET").arg(format!("count:{camera}")).query(&mut connection).unwrap();
        let mut times: HashMap<u64, u64> = HashMap::new();
        seen.iter().for_each(|seq| *times.entry(*seq).or_default() += 1);
        doubled += times.values().map(|times| times - 1).sum::<u64>();
        lost += (0..fed).filter(|seq| seq % CAMERAS == camera && !times.contains_key(seq)).count() as u64;
        if fed > 0 {
            let counted = counted.unwrap_or_default();
            let expected = (0..fed).filter(|seq| seq % CAMERAS == camera).count() as u64;
            doubled = doubled.max(counted.saturating_sub(expected));
            lost = lost.max(expected.saturating_sub(counted));
        }
    }
    (lost, doubled)
}
