//! The channel trigger: what is heard, what is dropped and counted, and what becomes of lost connections.

mod faults;

use std::sync::Arc;
use std::time::Duration;

use sandbar_core::config::{Config, StoreConfig};
use sandbar_runtime::telemetry::Exporter;
use sandbar_server::http::Health;
use sandbar_store::embedded::Embedded;
use sandbar_store::{Commit, Effect, Store, connect};
use sandbar_tests::host::PATIENCE;
use sandbar_tests::{Faults, Options, Proxy, RedisServer, TestHost, components, poll_until};

fn manifest(name: &str, triggers: &[&str]) -> String {
    let triggers: String = triggers.iter().map(|lines| format!("[[trigger]]\ntype = \"channel\"\n{lines}\n")).collect();
    format!("name = \"{name}\"\n{triggers}[grants]\nread = [\"*\"]\nwrite = [\"*\"]\n")
}

async fn start(store: Arc<dyn Store>, prefix: &str, manifest: &str) -> TestHost {
    // Before anything is counted.
    Exporter::install();
    let mut config = Config::default();
    config.tenants[0].prefix = prefix.to_owned();
    let test = TestHost::with(config, store, components::CHANNEL_RECORD, manifest).await;
    poll_until(PATIENCE, "all triggers listen", async || test.host.health().is_ready()).await;
    test
}

async fn redis(server: &RedisServer) -> Arc<dyn Store> {
    let config = StoreConfig { url: server.url(), response_timeout: Duration::from_secs(1), ..StoreConfig::default() };
    connect(&config).await.unwrap()
}

async fn on_both(run: impl AsyncFn(Arc<dyn Store>)) {
    run(Arc::new(Embedded::new())).await;
    let server = RedisServer::start();
    run(redis(&server).await).await;
}

async fn publish(store: &dyn Store, messages: &[(&str, &str)]) {
    let effect = |(channel, payload): &(&str, &str)| Effect::Publish {
        channel: (*channel).to_owned(),
        payload: payload.as_bytes().to_vec().into(),
    };
    let effects: Vec<Effect> = messages.iter().map(effect).collect();
    store.commit(Commit::plain(&effects, &[])).await.unwrap();
}

async fn list(test: &TestHost, key: &str) -> Vec<String> {
    // A connection that was cut is noticed by its next use.
    let found = test.store.list_range(key, 0, -1).await.unwrap_or_default();
    found.into_iter().map(|value| String::from_utf8(value.to_vec()).unwrap()).collect()
}

async fn heard(test: &TestHost, key: &str, count: usize) -> Vec<String> {
    poll_until(PATIENCE, "messages are recorded", async || list(test, key).await.len() >= count).await;
    list(test, key).await
}

/// Messages of a plugin that were lost for a reason, by the metrics.
fn dropped(plugin: &str, reason: &str) -> u64 {
    let text = Exporter::install().render();
    let wanted = format!("sandbar_dropped_total{{tenant=\"default\",plugin=\"{plugin}\",reason=\"{reason}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&wanted)).map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_and_patterns_below_the_prefix() {
    on_both(async |store| {
        let manifest = manifest("guest", &["channel = \"news\"", "pattern = \"camera:*\""]);
        let test = start(store, "t[1]*:", &manifest).await;
        let messages = [
            ("t[1]*:news", "1"),
            ("news", "not ours"),
            ("t1x:camera:9", "not ours"),
            ("t[1]*:other", "not ours"),
            ("t[1]*:camera:7", "2"),
        ];
        publish(&*test.store, &messages).await;
        let mut all = heard(&test, "t[1]*:heard", 2).await;
        all.sort();
        assert_eq!(all, ["camera:7=2", "news=1"]);
        assert_eq!(list(&test, "t[1]*:ids").await, ["1", "1"], "each trigger counts by itself");
        for number in 0..500 {
            publish(&*test.store, &[("t[1]*:news", &number.to_string())]).await;
        }
        let all = heard(&test, "t[1]*:heard", 502).await;
        let in_order: Vec<String> = (0..500).map(|number| format!("news={number}")).collect();
        assert_eq!(all[2..], in_order);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sharded_channels() {
    let server = RedisServer::start();
    if server.version() < (7, 0) {
        return;
    }
    let test = start(redis(&server).await, "t:", &manifest("guest", &["sharded = \"news\""])).await;
    publish(&*test.store, &[("t:news", "to another world")]).await;
    assert_eq!(server.get::<u64>(&["SPUBLISH", "t:news", "x"]), 1);
    assert_eq!(heard(&test, "t:heard", 1).await, ["news=x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_counted_and_not_handled_again() {
    on_both(async |store| {
        let name = if server_side(&*store) { "channel-fails-redis" } else { "channel-fails" };
        let test = start(store, "", &manifest(name, &["channel = \"news\"\nbatch = 1"])).await;
        let messages = ["1", "reject", "2", "retry", "trap", "3", "conflict", "4"].map(|payload| ("news", payload));
        publish(&*test.store, &messages).await;
        let all = heard(&test, "heard", 5).await;
        assert_eq!(all, ["news=1", "news=2", "news=3", "news=conflict", "news=4"]);
        assert_eq!((dropped(name, "not-done"), dropped(name, "failed")), (2, 1));
        let snapshot = test.host.plugins()[0].metrics.snapshot();
        assert_eq!((snapshot.done, snapshot.commit_failures, snapshot.retries, snapshot.dead), (5, 1, 0, 0));
    })
    .await;
}

fn server_side(store: &dyn Store) -> bool {
    format!("{store:?}").starts_with("Redis")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_buffer_drops_and_counts() {
    let numbers: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    for (policy, first, last) in [("oldest", "45", "49"), ("newest", "0", "4")] {
        let name = format!("channel-{policy}");
        let trigger = format!("channel = \"news\"\nbatch = 1\nbuffer = 5\ndrop = \"{policy}\"");
        let test = start(Arc::new(Embedded::new()), "", &manifest(&name, &[&trigger])).await;
        publish(&*test.store, &[("news", "slow")]).await;
        heard(&test, "heard", 1).await;
        let messages: Vec<(&str, &str)> = numbers.iter().map(|number| ("news", number.as_str())).collect();
        publish(&*test.store, &messages).await;
        let all = heard(&test, "heard", 6).await;
        assert_eq!((all[1].as_str(), all[5].as_str()), (&*format!("news={first}"), &*format!("news={last}")));
        assert_eq!(dropped(&name, "buffer"), 45, "{policy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_connections_are_made_anew() {
    let server = Options::new().port().start();
    let test = start(redis(&server).await, "", &manifest("guest", &["channel = \"news\"", "pattern = \"n?ws\""])).await;
    for round in 1..=3_usize {
        server.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        // What is published meanwhile is gone; what counts is that it goes on by itself.
        poll_until(PATIENCE, "both listen again", async || server.get::<u64>(&["PUBLISH", "news", "x"]) == 2).await;
        heard(&test, "heard", round * 2).await;
    }
    server.kill();
    poll_until(PATIENCE, "the host knows", async || !test.host.health().plugins[0].running).await;
    server.restart();
    poll_until(PATIENCE, "both listen again", async || test.host.health().is_ready()).await;
    assert_eq!(server.get::<u64>(&["PUBLISH", "news", "after"]), 2);
    let all = heard(&test, "heard", 2).await;
    assert_eq!(all, ["news=after", "news=after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_committed_is_counted() {
    let server = Options::new().port().start();
    let name = "channel-not-committed";
    let test = start(redis(&server).await, "", &manifest(name, &["channel = \"news\"\nbatch = 1"])).await;
    publish(&*test.store, &[("news", "slow"), ("news", "1"), ("news", "2")]).await;
    heard(&test, "heard", 1).await;
    // The first is committed and being handled, the others wait.
    server.kill();
    poll_until(PATIENCE, "both are counted", async || dropped(name, "not-committed") == 2).await;
    assert_eq!((dropped(name, "failed"), dropped(name, "not-done"), dropped(name, "buffer")), (0, 0, 0));
    server.restart();
    poll_until(PATIENCE, "it listens again", async || test.host.health().is_ready()).await;
    assert_eq!(server.get::<u64>(&["PUBLISH", "news", "3"]), 1);
    assert_eq!(heard(&test, "heard", 1).await, ["news=3"], "the others are gone for good");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_which_it_is_not_known_whether_it_was_committed_is_not_handled_again() {
    let server = Options::new().port().start();
    let proxy = Proxy::start(server.port(), Faults::none(), 1);
    let config = StoreConfig { url: proxy.url(), ..StoreConfig::default() };
    let name = "channel-unknown";
    let test = start(connect(&config).await.unwrap(), "", &manifest(name, &["channel = \"news\"\nbatch = 1"])).await;
    proxy.set_faults(Faults { lose_reply: 1.0, only: Some(b"EXEC".to_vec()), ..Faults::none() });
    for number in 1..=3 {
        assert_eq!(server.get::<u64>(&["PUBLISH", "news", &number.to_string()]), 1);
        poll_until(PATIENCE, "it is counted", async || dropped(name, "not-committed") == number).await;
    }
    proxy.set_faults(Faults::none());
    assert_eq!(proxy.counts().replies_lost, 3, "one commit for each");
    assert_eq!(server.get::<u64>(&["PUBLISH", "news", "4"]), 1);
    assert_eq!(heard(&test, "heard", 4).await, ["news=1", "news=2", "news=3", "news=4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_handled_before_the_end_is_counted() {
    Exporter::install();
    let config = Config { shutdown_grace: Duration::from_millis(100), ..Config::default() };
    let manifest = manifest("channel-ended", &["channel = \"news\"\nbatch = 1"]);
    let test = TestHost::with(config, Arc::new(Embedded::new()), components::CHANNEL_RECORD, &manifest).await;
    poll_until(PATIENCE, "it listens", async || test.host.health().is_ready()).await;
    publish(&*test.store, &[("news", "slow"), ("news", "1"), ("news", "2")]).await;
    heard(&test, "heard", 1).await;
    assert!(matches!(test.host.shutdown().await, sandbar_server::host::Drained::GraceElapsed { .. }));
    poll_until(PATIENCE, "it is counted", async || dropped("channel-ended", "shutdown") == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_triggers_share_one_connection_that_is_closed_with_the_last() {
    let server = RedisServer::start();
    let subscribed = || {
        let clients: String = server.get(&["CLIENT", "LIST", "TYPE", "pubsub"]);
        clients.lines().count()
    };
    let store = redis(&server).await;
    assert_eq!(subscribed(), 0, "there is no subscriber");
    let triggers: Vec<String> = (0..200).map(|number| format!("channel = \"news:{number}\"")).collect();
    let triggers: Vec<&str> = triggers.iter().map(String::as_str).collect();
    let test = start(store, "", &manifest("guest", &triggers)).await;
    assert_eq!(subscribed(), 1);
    for number in 0..200 {
        publish(&*test.store, &[(&format!("news:{number}"), "x")]).await;
    }
    heard(&test, "heard", 200).await;
    test.load(components::CHANNEL_RECORD, &manifest("guest", &[])).await.unwrap();
    poll_until(PATIENCE, "the connection is closed", async || subscribed() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_leaves_the_others_alone() {
    let server = Options::new().port().start();
    server.ask(&["ACL", "SETUSER", "host", "on", ">secret", "~*", "resetchannels", "&open*", "+@all"]);
    let url = format!("redis://host:secret@127.0.0.1:{}", server.port());
    let store = connect(&StoreConfig { url, ..StoreConfig::default() }).await.unwrap();
    let manifest = manifest("guest", &["channel = \"closed\"", "channel = \"open\""]);
    let test = TestHost::with(Config::default(), store, components::CHANNEL_RECORD, &manifest).await;
    poll_until(PATIENCE, "one listens", async || server.get::<u64>(&["PUBLISH", "open", "x"]) == 1).await;
    heard(&test, "heard", 1).await;
    assert!(!test.host.health().is_ready(), "the other does not, and readiness shows it");
    server.ask(&["ACL", "SETUSER", "host", "allchannels"]);
    poll_until(PATIENCE, "both listen", async || test.host.health().is_ready()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_handled_before_the_end() {
    let test = start(Arc::new(Embedded::new()), "", &manifest("guest", &["channel = \"news\"\nbatch = 1"])).await;
    publish(&*test.store, &[("news", "slow"), ("news", "1"), ("news", "2")]).await;
    assert_eq!(test.host.shutdown().await, sandbar_server::host::Drained::Clean);
    assert_eq!(list(&test, "heard").await, ["news=slow", "news=1", "news=2"]);
}
