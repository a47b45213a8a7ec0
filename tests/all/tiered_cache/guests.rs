//! Tiered reads as plugins make them.

use std::time::Duration;

use sandbar_runtime::telemetry::Exporter;
use sandbar_runtime::tiered_cache::{FetchError, Tier};
use sandbar_store::Remaining;
use sandbar_tests::{RedisServer, components, manifest, open_manifest, poll_until};

use super::*;

/// Has the guest fetch, and answers what it noted.
async fn ask(host: &TestHost, key: &str, fields: &[(&str, &str)]) -> String {
    let place = format!("answer:{key}");
    write(host, &[Effect::Delete { key: place.clone() }]).await;
    let event: Vec<(&str, &str)> = [("key", key)].into_iter().chain(fields.iter().copied()).collect();
    host.feed(&[&event]).await;
    let mut answer = String::new();
    poll_until(PATIENCE, "the guest answers", async || {
        answer = host.value(&place).await.unwrap_or_default();
        assert_eq!(host.reasons().await, Vec::<String>::new());
        !answer.is_empty()
    })
    .await;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_reads_through_the_cache() {
    on_both(async |host| {
        source(&host, "k:1", "= v").await;
        let fields = [("ttl", "600000"), ("memory", "60000"), ("negative", "60000"), ("on-error", "60000")];
        for _ in 0..5 {
            assert_eq!(ask(&host, "k:1", &fields).await, "= v");
        }
        assert_eq!(loads(&host, "k:1").await, 1);
        source(&host, "k:2", "none").await;
        for _ in 0..3 {
            assert_eq!(ask(&host, "k:2", &fields).await, "none");
        }
        assert_eq!(loads(&host, "k:2").await, 1);
        source(&host, "k:3", "fail").await;
        let answer = ask(&host, "k:3", &fields).await;
        assert!(answer.contains("unavailable") && answer.contains("`k:3`"), "{answer}");
        source(&host, "k:4", "fetch k:4").await;
        let answer = ask(&host, "k:4", &fields).await;
        assert!(answer.contains("invalid") && answer.contains("loads this key itself"), "{answer}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_sees_its_own_writes() {
    for embedded in [true, false] {
        let server = RedisServer::start();
        let on: Arc<dyn Store> = if embedded { Arc::new(Embedded::new()) } else { store(server.url()).await };
        let grants = "[grants]\nwrite = [\"pending:*\", \"passed\"]";
        let test = TestHost::on(on, components::CACHE_PENDING, &manifest("max-attempts = 1", grants)).await;
        test.feed(&[&[("any", "event")]]).await;
        test.settled(1).await;
        assert_eq!((test.value("passed").await.as_deref(), test.reasons().await), (Some("1"), vec![]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_runs_out_of_time_leaves_the_load_to_the_next() {
    on_both(async |host| {
        source(&host, "k:1", "sleep 1500 = v").await;
        let manifest = "name = \"caller\"\n[[trigger]]\ntype = \"stream\"\nstream = \"calls\"\nstart = \"0\"\nbatch = 1\n\
            retry-min = \"1ms\"\nretry-max = \"10ms\"\nmax-attempts = 1000\n\
            [grants]\nread = [\"*\"]\nwrite = [\"*\"]\n[limits]\ndeadline = \"300ms\"\n[cache]\nloader = \"guest\"";
        host.load(components::CACHE_FETCH, manifest).await.unwrap();
        sandbar_tests::host::feed(&*host.store, "calls", &[&[("key", "k:1"), ("ttl", "600000"), ("as", "first")]]).await;
        poll_until(PATIENCE, "the first call ran out of time", async || {
            host.value("first").await.is_some_and(|answer| answer.contains("timed-out"))
        })
        .await;
        assert_eq!(fetch(&host, "k:1", policy(LONG)).await.unwrap().0.as_deref(), Some("v"));
        assert_eq!(loads(&host, "k:1").await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_load_writes_is_committed() {
    on_both(async |host| {
        source(&host, "k:1", "write beside").await;
        assert_eq!(fetch(&host, "k:1", policy(LONG)).await, found("beside", Tier::Loaded));
        assert_eq!(host.value("beside:k:1").await.as_deref(), Some("beside"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_whose_write_is_refused_fails_and_the_next_one_may_succeed() {
    on_both(async |host| {
        source(&host, "k:1", "add v").await;
        write(&host, &[Effect::SetAdd { key: "beside:k:1".to_owned(), members: vec!["a".to_owned()] }]).await;
        let refused = fetch(&host, "k:1", policy(LONG)).await;
        assert!(
            matches!(&refused, Err(FetchError::Failed(reason)) if reason.contains("the store refused cache.add")),
            "{refused:?}"
        );
        assert_eq!(host.value("k:1").await, None);
        write(&host, &[Effect::Delete { key: "beside:k:1".to_owned() }]).await;
        assert_eq!(fetch(&host, "k:1", policy(LONG)).await, found("v", Tier::Loaded));
        assert_eq!(host.value("beside:k:1").await.as_deref(), Some("1"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loader_writes_only_what_it_is_granted() {
    let host = TestHost::embedded(components::CACHE_FETCH, &open_manifest("", "[cache]\nloader = \"source\"")).await;
    let missing = fetch_with(&host, "k:1", policy(LONG), Some("source"), PATIENCE).await;
    assert!(
        matches!(&missing, Err(FetchError::Failed(reason)) if reason.contains("`source`") && reason.contains("does not run")),
        "{missing:?}"
    );
    host.load(components::LOAD_ONLY, "name = \"source\"\n[grants]\nwrite = [\"quote:*\"]").await.unwrap();
    let fetch = async |key: &str| fetch_with(&host, key, policy(LONG), Some("source"), PATIENCE).await;
    assert_eq!(fetch("quote:a").await, found("QUOTE:A", Tier::Loaded));
    assert_eq!(fetch("quote:a?").await, Ok((None, Tier::Loaded)));
    let denied = fetch("k:1").await;
    assert!(
        matches!(&denied, Err(FetchError::Failed(reason)) if reason.contains("may not write key `k:1`")),
        "{denied:?}"
    );
    assert_eq!(host.value("k:1").await, None);
    // A replaced loader is asked from then on.
    host.load(components::HANDLE_COUNT, "name = \"source\"\n[grants]\nwrite = [\"quote:*\"]").await.unwrap();
    let gone = fetch("quote:b").await;
    assert!(
        matches!(&gone, Err(FetchError::Failed(reason)) if reason.contains("does not export a loader")),
        "{gone:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_cannot_name_a_loader_that_is_none() {
    let host = TestHost::embedded(components::HANDLE_COUNT, &open_manifest("", "")).await;
    let error = host.load(components::HANDLE_COUNT, "name = \"other\"\n[cache]\nloader = \"other\"").await.unwrap_err();
    assert!(error.to_string().contains("sandbar:plugin/loader"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_bounded_by_the_limit_of_their_loader() {
    let host = host(Arc::new(Embedded::new()), "[limits]\nvalue-bytes = \"1000B\"").await;
    source(&host, "k:1", "large 1001").await;
    let answer = fetch(&host, "k:1", policy(LONG)).await;
    assert!(matches!(&answer, Err(FetchError::Failed(reason)) if reason.contains("limits.value-bytes")), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_of_a_plugin_forgets_what_is_remembered() {
    let host = host(Arc::new(Embedded::new()), "").await;
    source(&host, "k:1", "none").await;
    let long = Policy { negative_ttl_ms: LONG, ..in_memory() };
    fetch(&host, "k:1", long).await.unwrap();
    fetch(&host, "k:1", long).await.unwrap();
    assert_eq!(fetch(&host, "k:1", long).await, Ok((None, Tier::Memory)));
    source(&host, "k:1", "= v").await;
    let slot = sandbar_store::LoadSlot::new("", "k:1");
    write(&host, &[Effect::Delete { key: slot.key }, Effect::Delete { key: slot.note.clone() }]).await;
    assert_eq!(fetch(&host, "k:1", long).await, found("v", Tier::Loaded));
    assert_eq!(host.store.ttl(&slot.note).await, Ok(Remaining::Missing));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_asks_its_source_rarely() {
    let manifest = include_str!("../../../examples/cache/plugin.toml");
    let requests = include_str!("../../../examples/cache/requests.jsonl");
    assert!(Config::parse(include_str!("../../../examples/cache/sandbar.toml")).is_ok());
    let server = RedisServer::start();
    let host = TestHost::on(store(server.url()).await, components::QUOTES, manifest).await.reading("quote-requests");
    let symbols: Vec<String> = requests
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["symbol"].as_str().unwrap().to_owned())
        .collect();
    for symbol in symbols.iter().cycle().take(300) {
        host.feed(&[&[("symbol", symbol)]]).await;
    }
    host.feed(&[&[("symbol", "no symbol")]]).await;
    host.settled(301).await;
    let reasons = host.reasons().await;
    assert!(reasons.len() == 1 && reasons[0].contains("is not traded"), "{reasons:?}");
    assert_eq!(host.value("answered:AAPL").await.as_deref(), Some("150"));
    let asked: u64 = host.value("asked:AAPL").await.unwrap().parse().unwrap();
    assert!(asked < 20, "150 requests, for which the source was asked {asked} times");
    assert!(host.value("quote:AAPL").await.unwrap_or_default().contains("AAPL") || asked > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_keep_the_prefix_of_their_tenant() {
    let server = RedisServer::start();
    let mut config = Config::default();
    config.tenants[0].prefix = "acme:".to_owned();
    let stored = store(server.url()).await;
    let host = host_with(config, stored, "").await;
    server.ask(&["SET", "acme:source:k:1", "= v"]);
    assert_eq!(fetch(&host, "k:1", in_memory()).await, found("v", Tier::Loaded));
    assert_eq!(server.get::<String>(&["GET", "acme:k:1"]), "v");
    warm(&host, "k:1", "v").await;
    server.ask(&["SET", "acme:k:1", "new"]);
    poll_until(Duration::from_millis(500), "the new value is answered", async || {
        fetch(&host, "k:1", in_memory()).await.unwrap().0.as_deref() == Some("new")
    })
    .await;
    let keys: Vec<String> = server.get(&["KEYS", "*"]);
    assert!(keys.iter().all(|key| key.starts_with("acme:")), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_are_counted_by_tier() {
    let exporter = Exporter::install();
    let mut config = Config::default();
    config.tenants[0].name = "counted".to_owned();
    let host = host_with(config, Arc::new(Embedded::new()), "").await;
    source(&host, "k:1", "= v").await;
    for _ in 0..5 {
        fetch(&host, "k:1", in_memory()).await.unwrap();
    }
    source(&host, "k:2", "fail").await;
    fetch(&host, "k:2", policy(LONG)).await.unwrap_err();
    let text = exporter.render();
    let count = |tier: &str| {
        let line = format!("sandbar_cache_total{{tenant=\"counted\",tier=\"{tier}\"}} ");
        text.lines().find_map(|found| found.strip_prefix(&line)).unwrap_or("0").to_owned()
    };
    assert_eq!([count("loaded"), count("store"), count("memory"), count("failed")], ["1", "1", "3", "1"], "{text}");
    assert!(text.contains("sandbar_cache_load_seconds_count{tenant=\"counted\",plugin=\"guest\"} 2"), "{text}");
    assert!(text.contains("sandbar_cache_memory_bytes{tenant=\"counted\"}"), "{text}");
}
