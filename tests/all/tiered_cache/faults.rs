//! Hosts that are killed while they load.

use std::time::Duration;

use sandbar_runtime::tiered_cache::Tier;
use sandbar_tests::process::HostProcess;
use sandbar_tests::{RedisServer, poll_until};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_killed_or_stopped_while_it_loads_is_waited_for_no_longer_than_its_lease() {
    let server = RedisServer::start();
    let host = host(store(server.url()).await, "").await;
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("plugin.toml");
    let trigger = "batch = 1\nclaim-idle = \"1h\"";
    let text = open_manifest(trigger, "").replace("\"guest\"", "\"other\"").replace("\"events\"", "\"others\"");
    std::fs::write(&manifest, text).unwrap();
    for (key, kills) in [("k:killed", true), ("k:stopped", false)] {
        source(&host, key, "sleep 1500 = v").await;
        let program = env!("CARGO_BIN_EXE_host-under-test");
        let mut process = HostProcess::start(program, &server.url(), &manifest, components::CACHE_FETCH, None);
        process.ready();
        let mut other = Some(process);
        sandbar_tests::host::feed(&*host.store, "others", &[&[("key", key), ("ttl", "600000")]]).await;
        poll_until(PATIENCE, "the other host loads", async || loads(&host, key).await == 1).await;
        match &other {
            Some(process) if !kills => process.pause(),
            _ => other = None,
        }
        let begun = std::time::Instant::now();
        assert_eq!(fetch(&host, key, policy(LONG)).await, found("v", Tier::Loaded));
        println!("{key}: taken over and loaded after {:?}", begun.elapsed());
        assert!(begun.elapsed() < sandbar_runtime::tiered_cache::LEASE + Duration::from_secs(4));
        assert_eq!(loads(&host, key).await, 2);
        set(&host, key, "newer", Expiry::Never).await;
        if let Some(process) = &other {
            // What the stopped host loaded is too late.
            process.resume();
            poll_until(PATIENCE, "its call has ended", async || host.value(&format!("answer:{key}")).await.is_some())
                .await;
        }
        assert_eq!(host.value(key).await.as_deref(), Some("newer"));
    }
}
