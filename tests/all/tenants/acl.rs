//! Users of tenants: made, kept in step, removed.

use redis::{Value, cmd};
use sandbar_core::config::{Config, StoreConfig};
use sandbar_runtime::protocol::Protocol;
use sandbar_server::host::Host;
use sandbar_store::{StoreError, connect};
use sandbar_tests::host::PATIENCE;
use sandbar_tests::{Options, RedisServer, components, open_manifest, poll_until};

use super::{config, start};

const TENANT: &str = "[tenant]\nname = \"acme\"\nprefix = \"acme:\"\nacl = true";

fn users(server: &RedisServer) -> Vec<String> {
    server.get(&["ACL", "USERS"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_comes_with_the_tenant_and_goes_with_its_last_host() {
    let (server, cache) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let (one, _store) = start(config(&server, cache.path(), TENANT), Protocol::default()).await;
    let (two, _store) = start(config(&server, cache.path(), TENANT), Protocol::default()).await;
    assert_eq!(users(&server), ["default", "sandbar:acme"]);
    one.shutdown().await;
    assert_eq!(users(&server), ["default", "sandbar:acme"], "another host has it");
    two.shutdown().await;
    assert_eq!(users(&server), ["default"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_forgotten_the_user_gets_it_again() {
    let (server, cache) = (Options::new().append_only().start(), tempfile::tempdir().unwrap());
    let (host, _store) = start(config(&server, cache.path(), TENANT), Protocol::default()).await;
    let bytes = std::fs::read(components::HANDLE_COUNT).unwrap();
    host.load_bytes(sandbar_core::manifest::Manifest::parse(&open_manifest("", "")).unwrap(), bytes).await.unwrap();
    let counted = |wanted: u64| {
        let server = &server;
        poll_until(PATIENCE, "events are handled", async move || {
            server.get::<Option<u64>>(&["GET", "acme:count:0"]) == Some(wanted)
        })
    };
    server.append_counted("acme:events", 1, 0..10);
    counted(10).await;
    server.restart();
    server.append_counted("acme:events", 1, 10..20);
    counted(20).await;
    // The same where it is removed while the host runs.
    server.ask(&["ACL", "DELUSER", "sandbar:acme"]);
    server.append_counted("acme:events", 1, 20..30);
    counted(30).await;
    host.shutdown().await;
    assert_eq!(users(&server), ["default"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_may_not_change_users_fails_at_the_start() {
    let server = RedisServer::start();
    server.ask(&["ACL", "SETUSER", "weak", "on", ">secret", "~*", "&*", "+@all", "-acl"]);
    let url = format!("{}?user=weak&pass=secret", server.url());
    let config = Config { store: StoreConfig { url, ..StoreConfig::default() }, ..Config::parse(TENANT).unwrap() };
    let store = connect(&config.store).await.unwrap();
    let error = Host::start(config, store).await.unwrap_err().to_string();
    assert!(error.contains("`acme`") && error.contains("+acl"), "{error}");
    let embedded =
        Host::start(Config::parse(TENANT).unwrap(), std::sync::Arc::new(sandbar_store::embedded::Embedded::new()));
    assert!(embedded.await.unwrap_err().to_string().contains("embedded"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_refuses_what_lies_outside() {
    let server = RedisServer::start();
    let store = connect(&StoreConfig { url: server.url(), ..StoreConfig::default() }).await.unwrap();
    let confined = store.confine("acme", "ac[me]:").await.unwrap();
    for outside in ["b:k", "acm:k", "acme:k", "k"] {
        let denied =
            |error: Option<StoreError>| assert!(matches!(error, Some(StoreError::Denied(_))), "{outside}: {error:?}");
        denied(confined.get(outside).await.err());
        denied(confined.increment(outside, 1).await.err());
        denied(confined.scan(&format!("{outside}*"), 0, 10).await.err());
        denied(confined.subscribers(outside).await.err());
        let lock = sandbar_store::LockKey::new("", outside);
        let claim = sandbar_store::Claim::new(lock, "h", "p", 1000);
        denied(confined.acquire(&claim, std::time::Duration::ZERO).await.err());
        let effect = sandbar_store::Effect::Publish { channel: outside.to_owned(), payload: "x".into() };
        let refused = confined.commit(sandbar_store::Commit::plain(&[effect], &[])).await;
        assert!(refused.is_err() || !refused.unwrap().refused.is_empty(), "{outside}");
    }
    assert_eq!(confined.increment("ac[me]:k", 1).await, Ok(1));
    // Nor may the user do what no tenant needs.
    let user: Value = server.ask(&["ACL", "GETUSER", "sandbar:acme"]);
    let shown = format!("{user:?}");
    for word in ["keys", "flushall", "config", "+@all", "tracking", "select", "acl"] {
        assert!(!shown.contains(&format!("+{word}")), "{word}: {shown}");
    }
    confined.unconfine().await.unwrap();
    let gone: Value = cmd("ACL").arg("GETUSER").arg("sandbar:acme").query(&mut server.connect()).unwrap();
    assert_eq!(gone, Value::Nil);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_is_there_already_is_brought_in_step() {
    let (server, cache) = (RedisServer::start(), tempfile::tempdir().unwrap());
    // An older host allowed more, and hosts that were killed have left their passwords behind.
    server.ask(&["ACL", "SETUSER", "sandbar:acme", "on", "~*", "&*", "+keys", "+flushall"]);
    for host in 0..64 {
        server.ask(&["ACL", "SETUSER", "sandbar:acme", &format!(">left behind by {host}")]);
    }
    let (host, _store) = start(config(&server, cache.path(), TENANT), Protocol::default()).await;
    let user: Vec<Value> = server.get(&["ACL", "GETUSER", "sandbar:acme"]);
    let of = |name: &str| {
        let at = user.iter().position(|value| *value == Value::BulkString(name.as_bytes().to_vec())).unwrap();
        user[at + 1].clone()
    };
    let Value::Array(passwords) = of("passwords") else { panic!("{user:?}") };
    assert_eq!(passwords.len(), 1, "only the one of the host that lives");
    let shown = format!("{:?}", of("commands"));
    assert!(!shown.contains("+keys") && !shown.contains("+flushall"), "{shown}");
    assert_eq!(of("keys"), Value::BulkString(b"~acme:*".to_vec()));
    assert_eq!(of("channels"), Value::BulkString(b"&acme:*".to_vec()));
    host.shutdown().await;
    assert_eq!(users(&server), ["default"]);
}
