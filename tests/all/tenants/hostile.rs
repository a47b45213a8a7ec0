//! A tenant whose components do everything that they should not, beside one that works.

use std::time::Duration;

use sandbar_core::manifest::Manifest;
use sandbar_runtime::protocol::Protocol;
use sandbar_tests::host::PATIENCE;
use sandbar_tests::{Group, RedisServer, components, open_manifest, poll_until};

use super::monitor::{Monitor, named};
use super::{config, start};

/// What the hostile tenant does.
const DEEDS: [&str; 8] = ["loop", "allocate", "recurse", "effects", "calls", "lists", "names", "log"];
const TENANTS: &str = r#"
[[tenant]]
name = "a"
prefix = "a:"
[tenant.quota]
memory = "128MiB"
effects = 500
effects-per-second = 5000
log-lines-per-second = 50
[[tenant]]
name = "b"
prefix = "b:"
"#;
const HOSTILE: &str =
    "batch = 1\nconcurrency = 8\nprefetch = 2\nmax-attempts = 2\nretry-min = \"1ms\"\nretry-max = \"5ms\"";
const LIMITS: &str = "[limits]\ndeadline = \"300ms\"\nmemory = \"16MiB\"";
/// What the other tenant handles.
const EVENTS: u64 = 300;
/// Keys that lie outside of the hostile tenant's prefix, with what is in them.
const SECRETS: [&str; 5] = ["b:secret", "secret", "*", "{b}:secret", ".."];

fn seed(server: &RedisServer) {
    SECRETS.iter().for_each(|key| _ = server.ask(&["SET", key, "intact"]));
}

fn assert_intact(server: &RedisServer) {
    for key in SECRETS {
        assert_eq!(server.get::<String>(&["GET", key]), "intact", "{key}");
        assert_eq!(server.get::<i64>(&["PTTL", key]), -1, "{key}");
    }
}

/// Runs both tenants, and answers how many events the other one has handled while the hostile one was at work.
async fn run(server: &RedisServer, tenants: &str, protocol: Protocol, rounds: usize) {
    let cache = tempfile::tempdir().unwrap();
    let (host, _store) = start(config(server, cache.path(), tenants), protocol).await;
    let load = async |tenant: &str, component: &str, manifest: &str| {
        let (manifest, bytes) = (Manifest::parse(manifest).unwrap(), std::fs::read(component).unwrap());
        host.tenant(tenant).unwrap().load_bytes(manifest, bytes).await.unwrap();
    };
    load("a", components::HOSTILE, &open_manifest(HOSTILE, LIMITS)).await;
    load("b", components::HANDLE_COUNT, &open_manifest("batch = 10", "")).await;
    for _ in 0..rounds {
        server.append("a:events", DEEDS.iter().map(|deed| vec![("do", (*deed).to_owned())]));
    }
    server.append_counted("b:events", 10, 0..EVENTS);
    let counted = async || {
        let counts: Vec<Option<u64>> = (0..10).map(|n| server.get(&["GET", &format!("b:count:{n}")])).collect();
        counts.into_iter().flatten().sum::<u64>()
    };
    // Without the host's own check, plugins that name their keys as ever find nothing below their prefix.
    if protocol.names_checked {
        poll_until(PATIENCE, "the other tenant goes on", async || counted().await == EVENTS).await;
    }
    let group = Group::new(server, "a:events", "guest");
    poll_until(Duration::from_secs(120), "the hostile tenant has done its deeds", async || group.is_settled()).await;
    if protocol.names_checked {
        assert_eq!(counted().await, EVENTS, "each once");
    }
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_hostile_tenant_reaches_nothing_and_stops_no_other() {
    let server = RedisServer::start();
    seed(&server);
    let monitor = Monitor::start(&server);
    run(&server, TENANTS, Protocol::default(), 3).await;
    let commands = monitor.commands();
    assert_intact(&server);
    let survived: Option<u64> = server.get(&["GET", "a:survived"]);
    assert!(survived.is_some(), "some deeds end well");
    for (name, command) in named(&server, &commands) {
        // The test's own look.
        let is_ours = SECRETS.contains(&name.as_str()) || name.starts_with("sandbar:wake:");
        assert!(is_ours || name.starts_with("a:") || name.starts_with("b:"), "`{name}` in {command}");
        let is_hostile = ["secret", "hacked", "flood", "huge"].iter().any(|word| name.contains(word));
        assert!(!is_hostile || is_ours || name.starts_with("a:"), "`{name}` in {command}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn with_users_of_its_own_the_store_keeps_a_tenant_below_its_prefix_even_where_the_host_does_not() {
    let server = RedisServer::start();
    seed(&server);
    let confined = TENANTS.replace("prefix = \"a:\"", "prefix = \"a:\"\nacl = true");
    run(&server, &confined, Protocol { names_checked: false, ..Protocol::default() }, 1).await;
    assert_intact(&server);
    let keys: Vec<String> = server.get(&["KEYS", "*"]);
    let strange = keys.iter().find(|key| {
        let is_known = SECRETS.contains(&key.as_str()) || key.starts_with("a:") || key.starts_with("b:");
        // The other tenant has no user of its own here, and its names are no longer prefixed.
        !is_known && !key.starts_with("count:") && !key.starts_with("seen:")
    });
    assert_eq!(strange, None);
    let refused: Vec<redis::Value> = server.get(&["ACL", "LOG"]);
    assert!(!refused.is_empty(), "the server has refused what the host let through");
}
