//! Every limit binds on every trigger, with an error that names it and a metric.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sandbar_core::config::{Config, EngineConfig};
use sandbar_core::manifest::Manifest;
use sandbar_runtime::telemetry::Exporter;
use sandbar_server::host::Host;
use sandbar_store::embedded::Embedded;
use sandbar_store::{Commit, Condition, Effect, End, EntryId, Expiry, Field, JobQueue, PushOptions, Retention, Store};
use sandbar_tests::host::PATIENCE;
use sandbar_tests::{components, poll_until};

use crate::http_in::site::{Client, Front, request};

/// A limit: what the guest does to meet it, what the manifest says, and its name.
const LIMITS: [(&str, &str, &str); 12] = [
    ("loop", "deadline = \"50ms\"", "limits.deadline"),
    ("loop", "cpu = \"20ms\"", "limits.cpu"),
    ("memory", "memory = \"4MiB\"", "limits.memory"),
    ("value", "value-bytes = \"1MiB\"", "limits.value-bytes"),
    ("effects", "effects = 100", "limits.effects"),
    ("effect-bytes", "effect-bytes = \"10KiB\"", "limits.effect-bytes"),
    ("host-calls", "host-calls = 1000", "limits.host-calls"),
    ("keys", "keys = 50", "limits.keys"),
    ("read-bytes", "read-bytes = \"100KiB\"", "limits.read-bytes"),
    ("log-lines", "log-lines = 5", "limits.log-lines"),
    ("log-bytes", "log-bytes = \"10KiB\"", "limits.log-bytes"),
    ("sleep", "calls = 1", "limits.calls"),
];
/// What a plugin is triggered by. `{}` is its name.
const TRIGGERS: [(&str, &str); 5] = [
    ("stream", "stream = \"events-{}\"\nstart = \"0\"\nbatch = 1\nconcurrency = 4\nmax-attempts = 1"),
    ("queue", "queue = \"jobs-{}\"\nbatch = 1\nconcurrency = 4\nmax-attempts = 1"),
    ("channel", "channel = \"news-{}\"\nbatch = 1"),
    ("http", "route = \"/{}\"\ntimeout = \"5s\""),
    ("schedule", "name = \"often\"\nevery = \"100ms\"\noverlap = \"skip\""),
];

/// A host whose code is compiled once.
async fn host(store: Arc<dyn Store>, configuration: &str) -> (Host, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let engine = EngineConfig { cache_dir: Some(folder.path().to_owned()), ..EngineConfig::default() };
    let config = Config { engine, ..Config::parse(configuration).unwrap() };
    (Host::start(config, store).await.unwrap(), folder)
}

fn manifest(name: &str, what: &str, triggers: &[(&str, &str)], limits: &str) -> Manifest {
    let trigger =
        |(kind, keys): &(&str, &str)| format!("[[trigger]]\ntype = \"{kind}\"\n{}\n", keys.replace("{}", name));
    let triggers: String = triggers.iter().map(trigger).collect();
    let grants = "[grants]\nread = [\"*\"]\nwrite = [\"*\"]\npublish = [\"*\"]";
    let text = format!("name = \"{name}\"\n{triggers}{grants}\n[limits]\n{limits}\n[config]\ndo = \"{what}\"");
    Manifest::parse(&text).unwrap()
}

/// Counts of a metric with these labels.
fn count(metric: &str, plugin: &str, label: &str) -> u64 {
    let text = Exporter::install().render();
    let wanted = format!("{metric}{{tenant=\"default\",plugin=\"{plugin}\",{label}}} ");
    text.lines().find_map(|line| line.strip_prefix(&wanted)).map_or(0, |count| count.parse().unwrap())
}

fn hits(plugin: &str, limit: &str) -> u64 {
    count("sandbar_limit_hits_total", plugin, &format!("limit=\"{limit}\""))
}

/// Gives each kind of trigger of a plugin something to do, so many times.
async fn trigger(store: &dyn Store, site: &Front, plugin: &str, times: usize) -> Vec<Client> {
    // A client that hangs up ends the call.
    let mut clients = Vec::new();
    let queue = Arc::new(JobQueue::new("", &format!("jobs-{plugin}")));
    let effects = [
        Effect::Append {
            stream: format!("events-{plugin}"),
            fields: vec![Field::new("n", "1")],
            retention: Retention::Unlimited,
        },
        Effect::Push { queue, payloads: vec!["x".into()], options: PushOptions::default() },
        Effect::Publish { channel: format!("news-{plugin}"), payload: "x".into() },
    ];
    for _ in 0..times {
        store.commit(Commit::plain(&effects, &[])).await.unwrap();
        let mut client = site.client().await;
        client.send(request("GET", &format!("/{plugin}"), "")).await;
        clients.push(client);
    }
    clients
}

#[tokio::test(flavor = "multi_thread")]
async fn each_limit_of_a_call_binds_on_each_trigger() {
    let store: Arc<dyn Store> = Arc::new(Embedded::new());
    let (host, _folder) = host(store.clone(), "").await;
    let large =
        Effect::ListPush { key: "large".into(), end: End::Back, values: vec![vec![0; 1000].into(); 90], keep: None };
    store.commit(Commit::plain(&[large], &[])).await.unwrap();
    let site = Front::of(host.routes()).await;
    let bytes = std::fs::read(components::LIMIT_MEET).unwrap();
    let mut plugins = Vec::new();
    for (what, limits, name) in LIMITS {
        for kind in TRIGGERS {
            if name == "limits.calls" && matches!(kind.0, "channel" | "schedule") {
                // One trigger of these makes one call at a time.
                continue;
            }
            let plugin = format!("{}-{}", name.replace('.', "-"), kind.0);
            let manifest = manifest(&plugin, what, &[kind], limits);
            host.load_bytes(manifest, bytes.clone()).await.unwrap();
            plugins.push((plugin, name, kind.0));
        }
    }
    let mut clients = Vec::new();
    for (plugin, name, kind) in &plugins {
        // A channel hears nothing from before it listens, so messages are published until it has heard one; not too
        // often, because a request ends with its client.
        let mut rounds = 0;
        poll_until(PATIENCE, &format!("{plugin} meets {name}"), async || {
            if rounds % 200 == 0 && *kind != "schedule" {
                clients = trigger(&*store, &site, plugin, 4).await;
            }
            rounds += 1;
            hits(plugin, name) > 0
        })
        .await;
        clients.clear();
    }
    // An error names its limit, where people look for it: in the dead letters.
    for (plugin, name, _) in plugins.iter().filter(|(_, name, kind)| *kind == "stream" && !name.contains("log")) {
        if *name == "limits.calls" {
            continue;
        }
        let dead = format!("events-{plugin}:dead");
        poll_until(PATIENCE, &format!("{plugin} has a dead letter"), async || store.length(&dead).await.unwrap() > 0)
            .await;
        let range = store.range(&dead, Default::default(), EntryId::MAX, 1, false).await.unwrap();
        let reason = sandbar_tests::host::text(&range[0], "reason");
        assert!(reason.contains(&format!("`{name}`")), "{reason}");
    }
    host.shutdown().await;
}

/// Other ways to meet the same limits.
const WAYS: [(&str, &str, &str); 11] = [
    ("value-push", "", "limits.value-bytes"),
    ("value-publish", "", "limits.value-bytes"),
    ("value-list", "", "limits.value-bytes"),
    ("value-field", "", "limits.value-bytes"),
    ("value-entry", "", "limits.value-bytes"),
    ("channels", "keys = 50", "limits.keys"),
    ("queues", "keys = 50", "limits.keys"),
    ("locks", "keys = 50", "limits.keys"),
    ("commits", "host-calls = 1000", "limits.host-calls"),
    ("discards", "host-calls = 1000", "limits.host-calls"),
    ("fetches", "read-bytes = \"100KiB\"", "limits.read-bytes"),
];

#[tokio::test(flavor = "multi_thread")]
async fn no_function_is_a_way_around_a_limit() {
    let store: Arc<dyn Store> = Arc::new(Embedded::new());
    let (host, _folder) = host(store.clone(), "").await;
    let bytes = std::fs::read(components::LIMIT_MEET).unwrap();
    let large = Effect::Set {
        key: "large-value".to_owned(),
        value: vec![b'x'; 60_000].into(),
        expiry: Expiry::Never,
        condition: Condition::Always,
    };
    store.commit(Commit::plain(&[large], &[])).await.unwrap();
    for (way, limits, name) in WAYS {
        host.load_bytes(manifest(way, way, &TRIGGERS[..1], limits), bytes.clone()).await.unwrap();
        let fields = vec![Field::new("n", "1")];
        let event = Effect::Append { stream: format!("events-{way}"), fields, retention: Retention::Unlimited };
        store.commit(Commit::plain(&[event], &[])).await.unwrap();
        let status = || host.plugins().into_iter().find(|status| status.name == way).unwrap().metrics.snapshot();
        poll_until(PATIENCE, &format!("{way} is settled"), async || status().done + status().dead == 1).await;
        let dead = format!("events-{way}:dead");
        let range = store.range(&dead, Default::default(), EntryId::MAX, 1, false).await.unwrap();
        let reason = range.first().map(|dead_letter| sandbar_tests::host::text(dead_letter, "reason"));
        assert!(reason.as_ref().is_some_and(|reason| reason.contains(&format!("`{name}`"))), "{way}: {reason:?}");
        assert_eq!(hits(way, name), 1, "{way}");
    }
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_per_second_bind_on_each_trigger() {
    let store: Arc<dyn Store> = Arc::new(Embedded::new());
    let (host, _folder) = host(store.clone(), "").await;
    let site = Front::of(host.routes()).await;
    let bytes = std::fs::read(components::LIMIT_MEET).unwrap();
    for (kind, keys) in TRIGGERS {
        let plugin = format!("rate-{kind}");
        let manifest =
            manifest(&plugin, "nothing", &[(kind, &keys.replace("100ms", "10ms"))], "events-per-second = 20");
        host.load_bytes(manifest, bytes.clone()).await.unwrap();
    }
    let handled = |plugin: &str| {
        let plugins = host.plugins();
        let status = plugins.iter().find(|status| status.name == plugin).unwrap();
        status.metrics.snapshot().batches
    };
    let begun = Instant::now();
    for plugin in ["rate-stream", "rate-queue"] {
        trigger(&*store, &site, plugin, 30).await;
    }
    for plugin in ["rate-stream", "rate-queue"] {
        poll_until(PATIENCE, "all are handled", async || handled(plugin) == 30).await;
        assert!(hits(plugin, "limits.events-per-second") > 0);
    }
    assert!(begun.elapsed() >= Duration::from_millis(1300), "30 events at 20 a second, 2 of them at once");
    let refused = async || site.get("/rate-http").await;
    let mut answer = String::new();
    poll_until(PATIENCE, "a request is refused", async || {
        answer = refused().await;
        answer.starts_with("HTTP/1.1 429")
    })
    .await;
    assert!(answer.to_lowercase().contains("retry-after: 1"), "{answer}");
    poll_until(PATIENCE, "messages are dropped", async || {
        trigger(&*store, &site, "rate-channel", 5).await;
        count("sandbar_dropped_total", "rate-channel", "reason=\"rate\"") > 0
    })
    .await;
    poll_until(PATIENCE, "ticks wait", async || hits("rate-schedule", "limits.events-per-second") > 0).await;
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_of_a_tenant_bind() {
    let store: Arc<dyn Store> = Arc::new(Embedded::new());
    let quota = "plugins = 7\nmemory = \"64MiB\"\ninstances = 3\ncalls = 1\neffects = 5\neffects-per-second = 20\ncommits = 1\nevents-per-second = 1000\nlog-lines-per-second = 10";
    let (host, _folder) = host(store.clone(), &format!("[tenant.quota]\n{quota}")).await;
    let site = Front::of(host.routes()).await;
    let bytes = std::fs::read(components::LIMIT_MEET).unwrap();
    let stream = [TRIGGERS[0]];
    for (plugin, what, limits) in [
        ("total-effects", "effects", ""),
        ("total-calls", "sleep", ""),
        ("total-log", "log-lines", "log-lines = 10000\nlog-bytes = \"1GiB\""),
        ("total-memory", "memory", ""),
        ("total-commits", "nothing", ""),
        ("total-instances", "sleep", ""),
    ] {
        host.load_bytes(manifest(plugin, what, &stream, limits), bytes.clone()).await.unwrap();
    }
    let text = host.load_bytes(manifest("large", "nothing", &stream, "memory = \"65MiB\""), bytes.clone()).await;
    assert!(text.unwrap_err().to_string().contains("`quota.memory`"));
    host.load_bytes(manifest("seventh", "nothing", &stream, ""), bytes.clone()).await.unwrap();
    let text = host.load_bytes(manifest("eighth", "nothing", &stream, ""), bytes.clone()).await;
    assert!(text.unwrap_err().to_string().contains("`quota.plugins`"));
    for (plugin, limit) in [
        ("total-effects", "limits.effects"),
        ("total-log", "quota.log-lines-per-second"),
        ("total-calls", "quota.calls"),
        ("total-commits", "quota.effects-per-second"),
    ] {
        poll_until(PATIENCE, &format!("{plugin} meets {limit}"), async || {
            trigger(&*store, &site, plugin, 4).await;
            hits(plugin, limit) > 0
        })
        .await;
    }
    let dead = store.range("events-total-effects:dead", Default::default(), EntryId::MAX, 1, false).await.unwrap();
    let reason = sandbar_tests::host::text(&dead[0], "reason");
    assert!(reason.contains("has made 5 writes"), "the tenant's limit, and not that of the plugin: {reason}");
    // It may have as much as the tenant, and so meets its own limit or the tenant's, whichever is nearer.
    poll_until(PATIENCE, "total-memory meets a limit", async || {
        trigger(&*store, &site, "total-memory", 1).await;
        hits("total-memory", "limits.memory") + hits("total-memory", "quota.memory") > 0
    })
    .await;
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_share_the_memory_of_their_tenant() {
    let store: Arc<dyn Store> = Arc::new(Embedded::new());
    let (host, _folder) = host(store.clone(), "[tenant.quota]\nmemory = \"40MiB\"").await;
    let bytes = std::fs::read(components::LIMIT_MEET).unwrap();
    host.load_bytes(manifest("eater", "memory", &TRIGGERS[..1], "memory = \"40MiB\""), bytes).await.unwrap();
    let event = || Effect::Append {
        stream: "events-eater".to_owned(),
        fields: vec![Field::new("n", "1")],
        retention: Retention::Unlimited,
    };
    let events: Vec<Effect> = (0..4).map(|_| event()).collect();
    store.commit(Commit::plain(&events, &[])).await.unwrap();
    // Each could have all of it, but not together: they wait for each other, which is not the fault of their events.
    poll_until(PATIENCE, "each has met its own limit", async || host.plugins()[0].metrics.snapshot().dead == 4).await;
    assert!(hits("eater", "quota.memory") > 0 && hits("eater", "limits.memory") >= 4);
    let dead = store.range("events-eater:dead", Default::default(), EntryId::MAX, 10, false).await.unwrap();
    assert!(
        dead.iter().all(|dead_letter| sandbar_tests::host::text(dead_letter, "reason").contains("`limits.memory`"))
    );
    host.shutdown().await;
}
