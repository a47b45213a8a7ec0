//! Many tenants on one host.

use std::fmt::Write;
use std::time::Duration;

use sandbar_core::manifest::Manifest;
use sandbar_runtime::protocol::Protocol;
use sandbar_server::http::Health;
use sandbar_tests::host::PATIENCE;
use sandbar_tests::{RedisServer, components, open_manifest, poll_until};

use super::{config, start};

#[tokio::test(flavor = "multi_thread")]
async fn each_of_fifty_tenants_handles_its_own_events() {
    let (server, cache) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let mut text = String::new();
    for number in 0..50 {
        write!(text, "[[tenant]]\nname = \"t{number}\"\nprefix = \"t{number}:\"\n").unwrap();
    }
    let (host, _store) = start(config(&server, cache.path(), &text), Protocol::default()).await;
    let bytes = std::fs::read(components::HANDLE_COUNT).unwrap();
    let manifest = Manifest::parse(&open_manifest("", "")).unwrap();
    for tenant in host.tenants() {
        tenant.load_bytes(manifest.clone(), bytes.clone()).await.unwrap();
    }
    poll_until(PATIENCE, "all read their streams", async || host.health().is_ready()).await;
    for number in 0..50 {
        server.append_counted(&format!("t{number}:events"), 1, 0..number + 1);
    }
    for number in 0..50 {
        poll_until(Duration::from_secs(30), "each counts its own", async || {
            server.get::<Option<u64>>(&["GET", &format!("t{number}:count:0")]) == Some(number + 1)
        })
        .await;
    }
    host.shutdown().await;
}
