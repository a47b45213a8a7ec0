//! Redis is killed under load of every kind of trigger: nothing that was acknowledged is lost, nothing is doubled,
//! and the host says how it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sandbar_server::http::Health;
use sandbar_tests::host::PATIENCE;
use sandbar_tests::{Counted, Group, Options, RedisServer, components, poll_until};

use crate::http_in::site::{Site, redis};

const CAMERAS: u64 = 4;
const GRANTS: &str = "[grants]\nread = [\"*\"]\nwrite = [\"*\"]\npublish = [\"*\"]\n";

fn manifest(name: &str, trigger: &str) -> String {
    format!("name = \"{name}\"\n{trigger}\n{GRANTS}")
}

/// Jobs for cameras of their own, so that they are counted apart from the events.
fn push_jobs(server: &RedisServer, numbers: std::ops::Range<u64>) {
    let mut pipeline = ::redis::pipe();
    for seq in numbers {
        pipeline.cmd("LPUSH").arg("work").arg(format!("job{} {seq}", seq % CAMERAS)).ignore();
    }
    pipeline.exec(&mut server.connect()).unwrap();
}

/// How many jobs took no effect, and how many effects there are too many.
fn count_jobs(server: &RedisServer, jobs: u64) -> Counted {
    let mut seen = Vec::new();
    for camera in 0..CAMERAS {
        // Both at one moment: jobs may still be at work.
        let (list, count): (Vec<u64>, Option<usize>) = ::redis::pipe()
            .atomic()
            .lrange(format!("seen:job{camera}"), 0, -1)
            .get(format!("count:job{camera}"))
            .query(&mut server.connect())
            .unwrap();
        assert_eq!(count.unwrap_or_default(), list.len());
        seen.extend(list);
    }
    let effects = seen.len() as u64;
    seen.sort_unstable();
    seen.dedup();
    let distinct = seen.len() as u64;
    Counted { lost: jobs - distinct, doubled: effects - distinct }
}

/// What a client of the HTTP trigger was answered.
#[derive(Debug, Default)]
struct Told {
    made: Vec<u64>,
    refused: u64,
}

/// Posts numbers one after the other.
async fn post(site: Arc<Site>, list: &'static str, stop: Arc<AtomicBool>) -> Told {
    let mut told = Told::default();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let answer = site.post(&format!("/t/push?key={list}"), &number.to_string()).await;
        if answer.starts_with("HTTP/1.1 201") {
            told.made.push(number);
        } else {
            assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
            told.refused += 1;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_trigger_outlives_an_outage() {
    let away = Duration::from_secs(if std::env::var_os("SANDBAR_LONG").is_some() { 30 } else { 3 });
    let server = Options::new().port().append_only().start();
    let http = manifest("site", "on-outage = \"fallback\"\n[[trigger]]\ntype = \"http\"\nroute = \"/t\"");
    let site = Arc::new(Site::on(redis(&server).await, components::HTTP_SERVE, &http).await);
    let others = [
        (components::HANDLE_COUNT, "counter", "type = \"stream\"\nstream = \"events\"\nbatch = 20\nconcurrency = 3"),
        (components::QUEUE_COUNT, "jobs", "type = \"queue\"\nqueue = \"work\"\nbatch = 20\nretry-min = \"10ms\""),
        (components::CHANNEL_RECORD, "ears", "type = \"channel\"\nchannel = \"news\""),
        (components::TICK_ALL, "clock", "type = \"schedule\"\nname = \"t\"\nevery = \"100ms\""),
    ];
    for (component, name, trigger) in others {
        site.test.load(component, &manifest(name, &format!("[[trigger]]\n{trigger}"))).await.unwrap();
    }
    poll_until(PATIENCE, "the host is ready", async || site.test.host.health().is_ready()).await;
    server.append_counted("events", CAMERAS, 0..3_000);
    push_jobs(&server, 0..1_000);
    let stop = Arc::new(AtomicBool::new(false));
    let clients = ["one", "two"].map(|list| tokio::spawn(post(site.clone(), list, stop.clone())));
    let is_there = |key: &str| server.get::<u64>(&["EXISTS", key]) == 1;
    poll_until(PATIENCE, "all triggers but the channel's are at work", async || {
        ["count:0", "count:job0", "one", "two", "ticks:t"].iter().all(|key| is_there(key))
    })
    .await;
    poll_until(PATIENCE, "a message is heard", async || {
        server.ask(&["PUBLISH", "news", "before"]);
        is_there("heard")
    })
    .await;

    server.kill();
    let gone = Instant::now();
    let degraded = || site.test.host.health().degraded.join("; ");
    poll_until(PATIENCE, "the host says that it goes on in memory", async || {
        degraded().contains("fallback") && !site.test.host.health().is_healthy()
    })
    .await;
    poll_until(PATIENCE, "the store is away", async || gone.elapsed() >= away).await;
    server.restart();
    let back = Instant::now();
    let done = || site.test.host.plugins().iter().map(|plugin| plugin.metrics.snapshot().done).collect::<Vec<_>>();
    let (before, ticks) = (done(), server.get::<u64>(&["LLEN", "ticks:t"]));
    poll_until(PATIENCE, "the journal is replayed and ticks run", async || {
        degraded().is_empty() && server.get::<u64>(&["LLEN", "ticks:t"]) > ticks
    })
    .await;
    println!(
        "all is well {:?} after the store is back; events done by then: {before:?}, now {:?}",
        back.elapsed(),
        done()
    );
    poll_until(PATIENCE, "a message is heard again", async || {
        server.ask(&["PUBLISH", "news", "after"]);
        server.get::<Vec<String>>(&["LRANGE", "heard", "-1", "-1"]) == ["news=after"]
    })
    .await;
    server.append_counted("events", CAMERAS, 3_000..3_200);
    push_jobs(&server, 1_000..1_100);
    let group = Group::new(&server, "events", "counter");
    poll_until(PATIENCE, "all entries are acknowledged", async || group.is_settled()).await;
    poll_until(PATIENCE, "all jobs are done", async || count_jobs(&server, 1_100).lost == 0).await;
    stop.store(true, Ordering::Relaxed);
    assert_eq!(Counted::of(&server, CAMERAS, 0..3_200), Counted::EXACT);
    assert_eq!(count_jobs(&server, 1_100), Counted::EXACT);
    for (client, list) in clients.into_iter().zip(["one", "two"]) {
        let told = client.await.unwrap();
        let found: Vec<u64> = server.get(&["LRANGE", list, "0", "-1"]);
        let mut distinct = found.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), found.len(), "doubled");
        let lost: Vec<_> = told.made.iter().filter(|number| distinct.binary_search(number).is_err()).collect();
        assert_eq!(lost, Vec::<&u64>::new());
        println!("{list}: {} requests answered, {} refused", told.made.len(), told.refused);
    }
    let ticks: Vec<u64> = server.get(&["LRANGE", "ticks:t", "0", "-1"]);
    assert!(ticks.is_sorted_by(|a, b| a < b), "each tick once and in order: {ticks:?}");
}
