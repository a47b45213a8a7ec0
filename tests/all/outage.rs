//! Redis goes away, is full, or loses the group: the host goes on by itself, and nothing is lost or doubled.

mod every_trigger;

use std::time::Duration;

use sandbar_core::config::StoreConfig;
use sandbar_server::http::Health;
use sandbar_store::connect;
use sandbar_tests::host::PATIENCE;
use sandbar_tests::{Counted, Group, Options, RedisServer, TestHost, components, open_manifest, poll_until};

const CAMERAS: u64 = 4;
const TRIGGER: &str = "batch = 20\nconcurrency = 3\nretry-min = \"10ms\"";
const ATTEMPTS: &str = "sandbar:attempts:events:guest";

async fn start(server: &RedisServer) -> TestHost {
    let config = StoreConfig { url: server.url(), response_timeout: Duration::from_secs(1), ..StoreConfig::default() };
    TestHost::on(connect(&config).await.unwrap(), components::HANDLE_COUNT, &open_manifest(TRIGGER, "")).await
}

async fn settled(server: &RedisServer, events: u64) {
    let group = Group::new(server, "events", "guest");
    poll_until(PATIENCE, "all entries are acknowledged", async || group.is_settled()).await;
    assert_eq!(Counted::of(server, CAMERAS, 0..events), Counted::EXACT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_finds_nothing_lost_or_doubled() {
    let server = Options::new().port().append_only().start();
    let test = start(&server).await;
    poll_until(PATIENCE, "the host is ready", async || test.host.health().is_ready()).await;
    server.append_counted("events", CAMERAS, 0..3_000);
    poll_until(PATIENCE, "the host is at work", async || server.get::<Option<u64>>(&["GET", "count:0"]).is_some())
        .await;
    server.kill();
    poll_until(PATIENCE, "the host knows that the store is gone", async || !test.host.health().store_up).await;
    let health = test.host.health();
    assert!(!health.is_healthy() && !health.is_ready());
    assert!(health.degraded.iter().any(|what| what.contains("store")), "{:?}", health.degraded);
    // A few attempts to connect fail meanwhile; the pauses between them grow.
    let away = std::time::Instant::now();
    poll_until(PATIENCE, "some seconds pass", async || away.elapsed() > Duration::from_secs(2)).await;
    assert!(!test.host.health().store_up);
    server.restart();
    poll_until(PATIENCE, "the host is ready again", async || test.host.health().is_ready()).await;
    server.append_counted("events", CAMERAS, 3_000..4_000);
    settled(&server, 4_000).await;
    assert_eq!(test.reasons().await, Vec::<String>::new());
    assert_eq!(server.get::<u64>(&["EXISTS", ATTEMPTS]), 0, "an outage is not a failed attempt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_memory_refuses_commits_until_there_is_some() {
    let server = Options::new().port().config("maxmemory-policy", "noeviction").start();
    let test = start(&server).await;
    server.append_counted("events", CAMERAS, 0..100);
    settled(&server, 100).await;
    let refused = test.host.plugins()[0].metrics.snapshot().commit_failures;
    // In one step, so that the host cannot commit before the memory is gone.
    let mut pipeline = redis::pipe();
    pipeline.atomic();
    for seq in 100..300_u64 {
        pipeline.cmd("XADD").arg("events").arg("*").arg("camera").arg(seq % CAMERAS).arg("seq").arg(seq);
    }
    pipeline.cmd("CONFIG").arg("SET").arg("maxmemory").arg(1);
    pipeline.exec(&mut server.connect()).unwrap();
    poll_until(PATIENCE, "a commit is refused", async || {
        test.host.plugins()[0].metrics.snapshot().commit_failures > refused + 1
    })
    .await;
    assert_eq!(Counted::of(&server, CAMERAS, 0..300), Counted { lost: 200, doubled: 0 }, "nothing can be written");
    assert!(test.host.health().store_up, "the server answers");
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    settled(&server, 300).await;
    assert_eq!(test.reasons().await, Vec::<String>::new());
    assert_eq!(server.get::<u64>(&["EXISTS", ATTEMPTS]), 0, "a full server is not a failed attempt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_deleted_is_made_again_where_it_was() {
    let server = RedisServer::start();
    let test = start(&server).await;
    server.append_counted("events", CAMERAS, 0..100);
    settled(&server, 100).await;
    server.ask(&["XGROUP", "DESTROY", "events", "guest"]);
    server.append_counted("events", CAMERAS, 100..200);
    let group = Group::new(&server, "events", "guest");
    poll_until(PATIENCE, "the group is there again", async || group.pending().is_some()).await;
    // The server does not know the lag of a group that was made in the middle of a stream.
    poll_until(PATIENCE, "all is done", async || test.host.plugins()[0].metrics.snapshot().done >= 200).await;
    assert_eq!(Counted::of(&server, CAMERAS, 0..200), Counted::EXACT);
    server.ask(&["DEL", "events"]);
    server.append_counted("events", CAMERAS, 200..300);
    poll_until(PATIENCE, "all is done", async || test.host.plugins()[0].metrics.snapshot().done >= 300).await;
    assert_eq!(Counted::of(&server, CAMERAS, 0..300), Counted::EXACT);
    poll_until(PATIENCE, "nothing is pending", async || group.pending() == Some(0)).await;
    assert_eq!(group.consumers().len(), 1);
}
