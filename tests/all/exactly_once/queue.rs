//! The same for jobs of queues: those that a trigger hands to the plugin, and those that a handler of a stream takes
//! on its way.

use redis::Value;
use sandbar_tests::{Group, RedisServer, components};

use super::{CAMERAS, Plan, Work, is_long, run, seed};

const MANIFEST: &str = r#"
name = "guest"

[[trigger]]
type = "queue"
queue = "jobs"
batch = 50
concurrency = 3
prefetch = 2
visibility-timeout = "300ms"
max-crashes = 1000
retry-min = "10ms"
retry-max = "100ms"

[[trigger]]
type = "stream"
stream = "events"
start = "0"
batch = 10
concurrency = 2
claim-idle = "300ms"
max-attempts = 1000
retry-min = "10ms"
retry-max = "100ms"

[grants]
write = ["*"]

[limits]
deadline = "1s"
"#;

struct Queues {
    /// One job in so many traps once, so that its batch is committed in parts.
    trap_every: u64,
}

impl Work for Queues {
    fn plugin(&self) -> (String, &'static str) {
        (MANIFEST.to_owned(), components::QUEUE_COUNT)
    }

    fn feed(&self, server: &RedisServer, numbers: std::ops::Range<u64>) {
        let mut pipeline = redis::pipe();
        for seq in numbers {
            let queue = if seq % 12 == 2 { "more" } else { "jobs" };
            let trap = if seq % self.trap_every == 1 { " trap" } else { "" };
            pipeline.cmd("LPUSH").arg(queue).arg(format!("{} {seq}{trap}", seq % CAMERAS)).ignore();
            if seq % 24 == 2 {
                pipeline.cmd("XADD").arg("events").arg("*").arg("seq").arg(seq).ignore();
            }
        }
        pipeline.query::<()>(&mut server.connect()).unwrap();
    }

    fn is_settled(&self, server: &RedisServer) -> bool {
        let count = |command: &str, key: &str| {
            redis::cmd(command).arg(key).query::<u64>(&mut server.connect()).unwrap_or(u64::MAX)
        };
        let is_empty = |queue: &str| {
            let beside = |key| count("ZCARD", &format!("sandbar:queue:{queue}:{key}"));
            count("LLEN", queue) == 0 && ["ready", "delayed", "leases"].into_iter().all(|key| beside(key) == 0)
        };
        if !Group::new(server, "events", "guest").is_settled() {
            return false;
        }
        assert_eq!(count("XLEN", "jobs:dead"), 0, "no job is given up");
        if is_empty("more") {
            return is_empty("jobs");
        }
        // What was given back by the last calls needs another event, as do leases of hosts that are gone.
        let _: Result<Value, _> = redis::cmd("XADD").arg(&["events", "*", "seq", "1"]).query(&mut server.connect());
        false
    }
}

#[test]
fn every_job_takes_effect_once() {
    let (events, faults) = if is_long() { (100_000, 100) } else { (6_000, 14) };
    let plan = Plan { seed: seed(11), events, faults, protocol: None, spoiled: 0.02, signals: true };
    let tally = run(&Queues { trap_every: 200 }, &plan);
    assert_eq!((tally.lost, tally.doubled), (0, 0), "seed {}: {tally}", plan.seed);
}

#[test]
fn without_the_lease_jobs_are_doubled() {
    let plan =
        Plan { seed: seed(12), events: 20_000, faults: 40, protocol: Some("unfenced"), spoiled: 0.0, signals: true };
    let tally = run(&Queues { trap_every: 200 }, &plan);
    assert!(tally.doubled > 0, "seed {}: the faults are too weak to show anything: {tally}", plan.seed);
}

/// Every commit changes the lease that it watches, so of two for the same jobs one always fails. Not so where the
/// first one settled only a part of them.
#[test]
fn without_a_new_name_for_the_lease_after_a_lost_reply_jobs_are_doubled() {
    let protocol = Some("no-fence-after-lost-reply");
    let plan = Plan { seed: seed(13), events: 20_000, faults: 40, protocol, spoiled: 0.1, signals: false };
    let tally = run(&Queues { trap_every: 20 }, &plan);
    assert!(tally.doubled > 0, "seed {}: the faults are too weak to show anything: {tally}", plan.seed);
}
