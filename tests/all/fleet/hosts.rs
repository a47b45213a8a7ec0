//! Hosts in processes of their own, which are stopped and killed while something is deployed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sandbar_fleet::{Deploy, DeployOutcome, EndReason, Fleet, FleetError, Phase, ReleaseState};
use sandbar_tests::host::PATIENCE;
use sandbar_tests::{Counted, Group, RedisServer, components, open_manifest, poll_until};

use super::{PLUGIN, TENANT, cache, deploy, process, runs};
use crate::replace::{CAMERAS, Feed, redis};

const LARGE: &str = "[engine]\ninstances = 32";
/// Grants its plugins less memory than the next version asks for.
const SMALL: &str = "[engine]\ninstances = 32\n[tenant.quota]\nmemory = \"64MiB\"";

async fn all_run(fleet: &Fleet, number: u64, hosts: &[&String]) {
    poll_until(PATIENCE, &format!("release {number} runs on all hosts"), async || {
        let runs = runs(fleet).await;
        hosts.iter().all(|host| runs.contains(&((*host).clone(), number)))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_deploy_switches_all_hosts_and_those_that_were_away() {
    let server = Arc::new(RedisServer::start());
    let fleet = Fleet::new(redis(&server).await, "");
    let cache = cache();
    let (first, a) = process(&server, &cache, LARGE);
    let (second, b) = process(&server, &cache, LARGE);
    let (third, c) = process(&server, &cache, LARGE);
    fleet.deploy(TENANT, deploy(1)).await.unwrap();
    all_run(&fleet, 1, &[&a, &b, &c]).await;
    let feed = Feed::start(&server, 1000);

    let begun = Instant::now();
    let deployed = fleet.deploy(TENANT, deploy(2)).await.unwrap();
    let took = begun.elapsed();
    let record = fleet.record(TENANT, PLUGIN).await.unwrap().unwrap();
    let switched = fleet.now_ms().saturating_sub(record.history[0].ended_ms);
    println!(
        "3 hosts loaded a release that none had compiled in {took:?}; all had switched {switched} ms after the decision"
    );
    assert_eq!(deployed.outcome, DeployOutcome::Active);
    assert_eq!(deployed.hosts.len(), 3);
    assert!(deployed.hosts.iter().all(|host| host.standing == Some(ReleaseState::Good)), "{deployed:?}");
    let begun = Instant::now();
    fleet.rollback(TENANT, PLUGIN, None, "bob", "").await.unwrap();
    all_run(&fleet, 1, &[&a, &b, &c]).await;
    println!("3 hosts went back in {:?}", begun.elapsed());

    // One that is stopped is not waited for, and follows when it goes on.
    second.pause();
    poll_until(PATIENCE, "it counts as stopped", async || {
        fleet.nodes().await.unwrap().iter().any(|node| node.host == b && !node.alive)
    })
    .await;
    let deployed = fleet.deploy(TENANT, deploy(3)).await.unwrap();
    let stopped = deployed.hosts.iter().filter(|host| !host.alive || host.standing.is_none()).count();
    assert!(stopped <= 1 && deployed.outcome == DeployOutcome::Active, "{deployed:?}");
    all_run(&fleet, 3, &[&a, &c]).await;
    second.resume();
    let begun = Instant::now();
    all_run(&fleet, 3, &[&b]).await;
    println!("a host that was stopped switched {:?} after it went on", begun.elapsed());

    // One that is killed in the middle of a deploy does not hold it up for long.
    drop(third);
    let begun = Instant::now();
    let deployed = fleet.deploy(TENANT, deploy(4)).await.unwrap();
    println!("a deploy with a host that was just killed took {:?}", begun.elapsed());
    assert_eq!(deployed.outcome, DeployOutcome::Active);
    all_run(&fleet, 4, &[&a, &b]).await;

    // One that comes later runs the same.
    let (fourth, d) = process(&server, &cache, LARGE);
    all_run(&fleet, 4, &[&d]).await;

    let fed = feed.end();
    Group::new(&server, "events", PLUGIN).settled(PATIENCE * 2);
    assert_eq!(Counted::of(&server, CAMERAS, 0..fed), Counted::EXACT, "of {fed} events");
    for host in [first, second, fourth] {
        assert!(host.terminate());
    }
    let alive = fleet.nodes().await.unwrap().into_iter().filter(|node| node.alive).count();
    assert_eq!(alive, 0, "those that ended have said so");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_too_small_is_named() {
    let server = RedisServer::start();
    let fleet = Fleet::new(redis(&server).await, "");
    let cache = cache();
    let (_large, a) = process(&server, &cache, LARGE);
    let (_small, b) = process(&server, &cache, SMALL);
    fleet.deploy(TENANT, deploy(1)).await.unwrap();
    all_run(&fleet, 1, &[&a, &b]).await;
    let manifest = format!("{}\n[limits]\nmemory = \"80MiB\"\n", deploy(2).manifest);
    let error = fleet.deploy(TENANT, Deploy { manifest, ..deploy(2) }).await.unwrap_err();
    let FleetError::Refused { hosts, .. } = &error else { panic!("{error}") };
    assert_eq!(hosts.iter().map(|failure| &failure.host).collect::<Vec<_>>(), [&b]);
    assert!(error.to_string().contains(&format!("host {b}: the plugin `guest` cannot be loaded")), "{error}");
    assert!(error.to_string().contains("the tenant's `quota.memory`"), "{error}");
    assert!(runs(&fleet).await.iter().all(|(_, number)| *number == 1));
    let record = fleet.record(TENANT, PLUGIN).await.unwrap().unwrap();
    assert_eq!((record.phase, record.active.unwrap().number), (Phase::Settled, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployer_that_dies_in_the_middle_leaves_the_rest_to_the_hosts() {
    let server = RedisServer::start();
    let fleet = Fleet::new(redis(&server).await, "");
    let cache = cache();
    let (_first, a) = process(&server, &cache, LARGE);
    let (second, b) = process(&server, &cache, LARGE);
    fleet.deploy(TENANT, deploy(1)).await.unwrap();
    all_run(&fleet, 1, &[&a, &b]).await;
    // With a host that does not answer, the deploy waits; and then the deployer is gone.
    second.pause();
    let dropped = tokio::time::timeout(Duration::from_millis(500), fleet.deploy(TENANT, deploy(2))).await;
    assert!(dropped.is_err(), "it was waiting");
    let record = fleet.record(TENANT, PLUGIN).await.unwrap().unwrap();
    assert!(matches!(record.phase, Phase::Preparing { .. }), "{record:?}");
    let busy = fleet.deploy(TENANT, deploy(3)).await.unwrap_err();
    assert_eq!(busy, FleetError::Busy { number: 2, by: "ada".to_owned() });
    all_run(&fleet, 2, &[&a]).await;
    second.resume();
    all_run(&fleet, 2, &[&b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_that_hangs_is_ended() {
    let server = RedisServer::start();
    let fleet = Fleet::new(redis(&server).await, "");
    let cache = cache();
    let (host, id) = process(&server, &cache, LARGE);
    host.pause();
    // It counts as alive for longer than this waits.
    let hasty = Deploy { wait: Duration::from_millis(300), ..deploy(1) };
    let error = fleet.deploy(TENANT, hasty).await.unwrap_err();
    assert!(error.to_string().contains(&format!("host {id}: it did not answer in time")), "{error}");
    host.resume();
    fleet.deploy(TENANT, deploy(2)).await.unwrap();
    all_run(&fleet, 2, &[&id]).await;
}

/// A deploy of a version that traps on one event in so many; none traps where it is none.
fn trapping(number: u64, every: Option<u64>) -> Deploy {
    let differs = every.map_or(String::new(), |every| format!("differs = \"trap\"\nevery = \"{every}\"\n"));
    let trigger = "batch = 20\nmax-attempts = 50\nretry-min = \"10ms\"\nretry-max = \"50ms\"";
    let manifest = open_manifest(trigger, &format!("[config]\nnumber = \"{number}\"\n{differs}"));
    let component = std::fs::read(components::HANDLE_TRIAL).unwrap().into();
    Deploy { manifest, component, ..deploy(number) }
}

/// Has a version that traps on one event in twenty deployed to three hosts. It differs from the one before in its
/// manifest alone, so that a host that finds it out late must not take the good one back too.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_traps_is_rolled_back_on_all_hosts_and_every_event_counts_once() {
    const EVENTS: u64 = 3000;
    let server = RedisServer::start();
    let fleet = Fleet::new(redis(&server).await, "");
    let cache = cache();
    let (_first, a) = process(&server, &cache, LARGE);
    let (_second, b) = process(&server, &cache, LARGE);
    let (_third, c) = process(&server, &cache, LARGE);
    let feed = |numbers: std::ops::Range<u64>| {
        server.append("events", numbers.map(|n| vec![("key", (n % 3).to_string()), ("n", n.to_string())]));
    };
    fleet.deploy(TENANT, trapping(1, None)).await.unwrap();
    feed(1..1001);
    Group::new(&server, "events", PLUGIN).settled(PATIENCE);
    fleet.deploy(TENANT, trapping(2, None)).await.unwrap();
    let begun = Instant::now();
    fleet.deploy(TENANT, trapping(3, Some(20))).await.unwrap();
    for begin in (1001..=EVENTS).step_by(100) {
        feed(begin..begin + 100);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    poll_until(PATIENCE, "it is taken back", async || {
        let record = fleet.record(TENANT, PLUGIN).await.unwrap().unwrap();
        record.active.unwrap().number != 3
    })
    .await;
    println!("taken back {:?} after its deploy", begun.elapsed());
    all_run(&fleet, 2, &[&a, &b, &c]).await;
    Group::new(&server, "events", PLUGIN).settled(PATIENCE);
    let record = fleet.record(TENANT, PLUGIN).await.unwrap().unwrap();
    assert_eq!(record.active.unwrap().number, 2, "the good one stays, however many hosts have found the bad one out");
    let EndReason::FailedProbation { host, reason, events } = &record.history[0].why else {
        panic!("{:?}", record.history[0])
    };
    assert!([&a, &b, &c].contains(&host), "{host}");
    assert!(reason.contains("health.max-failure-rate"), "{reason}");
    assert!(!events.is_empty());
    for event in events {
        let id = event.strip_prefix("events ").unwrap();
        let entries: Vec<(String, Vec<String>)> = server.get(&["XRANGE", "events", id, id]);
        assert!(entries[0].1[3].parse::<u64>().unwrap().is_multiple_of(20), "{entries:?} is not one that traps");
    }
    let counts: Vec<u64> = (0..3).map(|key| server.get(&["GET", &format!("count:{key}")])).collect();
    assert_eq!(counts.iter().sum::<u64>(), EVENTS, "exactly one effect for each event: {counts:?}");
    assert_eq!(server.get::<u64>(&["XLEN", "events:dead"]), 0);
}
