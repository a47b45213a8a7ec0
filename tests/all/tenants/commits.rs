//! No tenant has more commits under way than it may.

use sandbar_core::manifest::Manifest;
use sandbar_runtime::protocol::Protocol;
use sandbar_runtime::telemetry::Exporter;
use sandbar_tests::host::PATIENCE;
use sandbar_tests::{RedisServer, components, poll_until};

use super::{config, start};
use crate::http_in::site::{Front, request};

/// Requests that each make one commit.
const REQUESTS: usize = 8;
/// What a host has by default for commits of all tenants.
const CONNECTIONS: usize = 4;

/// Transactions that the server has not made yet.
fn under_way(server: &RedisServer) -> usize {
    let clients: String = server.get(&["CLIENT", "LIST"]);
    clients.lines().filter(|client| !client.contains(" multi=-1 ")).count()
}

/// How often this tenant had to wait for a commit of its own.
fn waits(tenant: &str) -> usize {
    let wanted = format!("sandbar_limit_hits_total{{tenant=\"{tenant}\",plugin=\"guest\",limit=\"quota.commits\"}} ");
    let text = Exporter::install().render();
    text.lines().find_map(|line| line.strip_prefix(&wanted)).map_or(0, |count| count.parse().unwrap())
}

/// Has the tenant, whose prefix is `t:`, make commits that the server keeps waiting, of which so many must be under
/// way and no more.
async fn at_most(tenants: &str, tenant: &str, max: usize) {
    Exporter::install();
    let (server, cache) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let (host, _store) = start(config(&server, cache.path(), tenants), Protocol::default()).await;
    let trigger = "[[trigger]]\ntype = \"http\"\nroute = \"/t\"";
    let text = format!("name = \"guest\"\n{trigger}\n[grants]\nwrite = [\"*\"]\n[config]\ndo = \"nothing\"\n");
    let bytes = std::fs::read(components::LIMIT_MEET).unwrap();
    host.tenant(tenant).unwrap().load_bytes(Manifest::parse(&text).unwrap(), bytes).await.unwrap();
    let front = Front::of(host.routes()).await;
    // For longer than any of this takes, if the store would wait so long.
    server.ask(&["CLIENT", "PAUSE", "60000", "WRITE"]);
    let mut clients = Vec::new();
    for _ in 0..REQUESTS {
        let mut client = front.client().await;
        client.send(request("GET", "/t", "")).await;
        clients.push(client);
    }
    poll_until(PATIENCE, "the others wait", async || {
        let others = if max < CONNECTIONS { REQUESTS - max } else { 0 };
        under_way(&server) >= max && waits(tenant) == others
    })
    .await;
    assert_eq!(under_way(&server), max);
    server.ask(&["CLIENT", "UNPAUSE"]);
    for mut client in clients {
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    }
    assert_eq!(server.get::<usize>(&["GET", "t:done"]), REQUESTS);
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_quota_allows() {
    at_most("[tenant]\nname = \"two\"\nprefix = \"t:\"\n[tenant.quota]\ncommits = 2", "two", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_leaves_a_connection_to_the_others() {
    let text = "[[tenant]]\nname = \"first\"\nprefix = \"t:\"\n[[tenant]]\nname = \"other\"\nprefix = \"other:\"";
    at_most(text, "first", CONNECTIONS - 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_alone_has_all() {
    at_most("[tenant]\nname = \"alone\"\nprefix = \"t:\"", "alone", CONNECTIONS).await;
}
