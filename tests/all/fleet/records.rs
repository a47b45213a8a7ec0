//! What is deployed, rolled back, removed and collected, on both stores.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sandbar_core::manifest::Manifest;
use sandbar_fleet::{
    DeployOutcome, EndReason, Fleet, FleetError, HEARTBEAT_MS, HISTORY_MAX, Phase, ReleaseState, WORDS_MAX,
};
use sandbar_server::host::Host;
use sandbar_server::http::Health;
use sandbar_store::Store;
use sandbar_store::embedded::Embedded;
use sandbar_tests::host::PATIENCE;
use sandbar_tests::{RedisServer, poll_until};

use super::{PLUGIN, TENANT, TRIGGER, canary, deploy, deploy_bytes, host};
use crate::replace::{marked, redis, version};

/// Both stores, with what keeps them alive.
async fn both() -> [(Option<RedisServer>, Arc<dyn Store>); 2] {
    let server = RedisServer::start();
    let redis = redis(&server).await;
    [(None, Arc::new(Embedded::new())), (Some(server), redis)]
}

/// Waits until a host runs the release of a number; 0 is its own version.
async fn runs(host: &Host, number: u64) {
    poll_until(PATIENCE, &format!("release {number} runs"), async || {
        host.plugins().first().is_some_and(|plugin| plugin.release.number == number)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_deployed_rolled_back_and_removed() {
    for (_server, store) in both().await {
        let fleet = Fleet::new(store.clone(), "");
        let host = host(&store).await;
        let deployed = fleet.deploy(TENANT, deploy(1)).await.unwrap();
        assert_eq!((deployed.number, deployed.outcome), (1, DeployOutcome::Active));
        assert_eq!(deployed.hosts.len(), 1);
        assert_eq!((&*deployed.hosts[0].host, &deployed.hosts[0].standing), (host.id(), &Some(ReleaseState::Good)));
        runs(&host, 1).await;
        assert_eq!(fleet.deploy(TENANT, deploy(1)).await.unwrap().outcome, DeployOutcome::Unchanged);
        for number in 2..=3 {
            assert_eq!(fleet.deploy(TENANT, deploy(number)).await.unwrap().number, number);
        }
        runs(&host, 3).await;
        assert_eq!(host.plugins()[0].release.by, "ada");
        assert!(host.plugins()[0].rollout.probation().is_some(), "what is new is on probation");

        let record = fleet.rollback(TENANT, PLUGIN, None, "bob", "too slow").await.unwrap();
        assert_eq!(record.active.as_ref().unwrap().number, 2);
        let why = EndReason::RolledBack { by: "bob".to_owned(), reason: "too slow".to_owned() };
        assert_eq!((record.history[0].release.number, &record.history[0].why), (3, &why));
        runs(&host, 2).await;
        assert_eq!(host.plugins()[0].rollout.probation(), None, "what was gone back to is not");
        let third = record.history[0].release.digest.clone();
        fleet.rollback(TENANT, PLUGIN, Some(&third[..10]), "bob", "").await.unwrap();
        runs(&host, 3).await;
        let error = fleet.rollback(TENANT, PLUGIN, Some("ffffffff"), "bob", "").await.unwrap_err();
        assert_eq!(error, FleetError::NoRelease { to: "ffffffff".to_owned() });
        for number in [2, 1] {
            fleet.rollback(TENANT, PLUGIN, None, "bob", "").await.unwrap();
            runs(&host, number).await;
        }
        fleet.rollback(TENANT, PLUGIN, None, "bob", "").await.unwrap();
        poll_until(PATIENCE, "nothing runs", async || host.plugins().is_empty()).await;
        assert_eq!(fleet.rollback(TENANT, PLUGIN, None, "bob", "").await.unwrap_err(), FleetError::NothingBefore);

        fleet.deploy(TENANT, deploy(4)).await.unwrap();
        runs(&host, 4).await;
        fleet.remove(TENANT, PLUGIN, "bob").await.unwrap();
        poll_until(PATIENCE, "nothing runs", async || host.plugins().is_empty()).await;
        let record = fleet.record(TENANT, PLUGIN).await.unwrap().unwrap();
        assert_eq!(record.history[0].why, EndReason::Removed { by: "bob".to_owned() });
        assert!(host.health().degraded.is_empty(), "{:?}", host.health().degraded);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_goes_before_the_version_of_a_folder() {
    for (_server, store) in both().await {
        let fleet = Fleet::new(store.clone(), "");
        let host = host(&store).await;
        let own = |number| host.load_bytes(Manifest::parse(&marked(TRIGGER, number)).unwrap(), version(number));
        own(100).await.unwrap();
        let first = host.plugins()[0].version.clone();
        fleet.deploy(TENANT, deploy(1)).await.unwrap();
        runs(&host, 1).await;
        // A file that changes meanwhile waits.
        own(101).await.unwrap();
        assert_eq!(host.plugins()[0].release.number, 1);
        fleet.rollback(TENANT, PLUGIN, None, "bob", "").await.unwrap();
        runs(&host, 0).await;
        let status = &host.plugins()[0];
        assert_ne!(status.version, first, "the newest version of the folder is back");
        assert_eq!(status.history.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_is_promoted_or_dropped() {
    for (_server, store) in both().await {
        let fleet = Fleet::new(store.clone(), "");
        let host = host(&store).await;
        fleet.deploy(TENANT, deploy(1)).await.unwrap();
        let tried = fleet.deploy(TENANT, canary(2)).await.unwrap();
        assert_eq!((tried.number, tried.outcome), (2, DeployOutcome::Trial));
        assert_eq!(tried.hosts[0].standing, Some(ReleaseState::Good));
        let status = &host.plugins()[0];
        assert_eq!((status.release.number, status.tried.as_ref().unwrap().number), (1, 2));
        let error = fleet.deploy(TENANT, deploy(3)).await.unwrap_err();
        assert_eq!(error, FleetError::Trying { number: 2, by: "ada".to_owned() });
        fleet.end_trial(TENANT, PLUGIN, "bob", "enough").await.unwrap();
        poll_until(PATIENCE, "it is dropped", async || host.plugins()[0].tried.is_none()).await;
        assert_eq!(fleet.promote(TENANT, PLUGIN).await.unwrap_err(), FleetError::NoTrial);
        fleet.deploy(TENANT, canary(4)).await.unwrap();
        let record = fleet.promote(TENANT, PLUGIN).await.unwrap();
        assert_eq!((record.phase, record.active.unwrap().number), (Phase::Settled, 3));
        runs(&host, 3).await;
        poll_until(PATIENCE, "the trial is over", async || host.plugins()[0].tried.is_none()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_deploys_at_the_same_time_one_is_made() {
    for (_server, store) in both().await {
        let host = host(&store).await;
        for round in 0..5 {
            // Each through a fleet of its own, as from several machines.
            let deploys = (0..4).map(|rival| {
                let fleet = Fleet::new(store.clone(), "");
                async move { fleet.deploy(TENANT, deploy(10 + round * 4 + rival)).await }
            });
            let ended = futures_util::future::join_all(deploys).await;
            let (made, refused): (Vec<_>, Vec<_>) = ended.into_iter().partition(Result::is_ok);
            assert!(!made.is_empty(), "{refused:?}");
            let numbers: HashSet<u64> = made.iter().map(|made| made.as_ref().unwrap().number).collect();
            assert_eq!(numbers.len(), made.len(), "two have made the same release: {made:?}");
            for error in refused {
                let error = error.unwrap_err();
                assert!(matches!(error, FleetError::Busy { .. }), "{error}");
                assert!(error.to_string().contains("of `ada` is being prepared"), "{error}");
            }
            let fleet = Fleet::new(store.clone(), "");
            let record = fleet.record(TENANT, PLUGIN).await.unwrap().unwrap();
            runs(&host, record.active.unwrap().number).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn histories_are_bounded_and_unused_components_are_collected() {
    for (server, store) in both().await {
        // No host loads them, so they are active at once and need not be components.
        let fleet = Fleet::new(store.clone(), "p:");
        let bytes = |number: u64| format!("component {number}").into_bytes();
        let deploys = HISTORY_MAX as u64 + 10;
        let other = |number| {
            let mut deploy = deploy_bytes(number, bytes(number));
            deploy.manifest = deploy.manifest.replace("\"guest\"", "\"other\"");
            deploy
        };
        fleet.deploy(TENANT, other(1)).await.unwrap();
        for number in 1..=deploys {
            fleet.deploy(TENANT, deploy_bytes(number, bytes(number))).await.unwrap();
        }
        let record = fleet.record(TENANT, PLUGIN).await.unwrap().unwrap();
        assert_eq!(record.history.len(), HISTORY_MAX);
        let digest = |number| sandbar_runtime::plugin::digest(&bytes(number));
        for number in 2..=deploys {
            let is_kept = fleet.component(&digest(number)).await.unwrap().is_some();
            assert_eq!(is_kept, number >= deploys - HISTORY_MAX as u64, "component {number}");
        }
        assert!(fleet.component(&digest(1)).await.unwrap().is_some(), "another plugin still refers to it");
        if let Some(server) = server {
            let keys: Vec<String> = server.get(&["KEYS", "*"]);
            assert!(keys.iter().all(|key| key.starts_with("p:sandbar:fleet:")), "{keys:?}");
            assert_eq!(keys.iter().filter(|key| key.contains(":component:")).count(), HISTORY_MAX + 2);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_cannot_load_it_is_named_and_nothing_is_switched() {
    for (_server, store) in both().await {
        let fleet = Fleet::new(store.clone(), "");
        let host = host(&store).await;
        fleet.deploy(TENANT, deploy(1)).await.unwrap();
        let error = fleet.deploy(TENANT, deploy_bytes(2, b"garbage".to_vec())).await.unwrap_err();
        let FleetError::Refused { number: 2, hosts } = &error else { panic!("{error}") };
        assert_eq!(hosts[0].host, host.id());
        assert!(hosts[0].reason.contains("no WebAssembly component"), "{error}");
        let record = fleet.record(TENANT, PLUGIN).await.unwrap().unwrap();
        assert_eq!((record.phase, record.active.unwrap().number), (Phase::Settled, 1));
        assert!(matches!(&record.history[0].why, EndReason::Failed { hosts } if hosts[0].host == host.id()));
        assert_eq!(host.plugins()[0].release.number, 1);
        // A later one is not held up by it.
        fleet.deploy(TENANT, deploy(3)).await.unwrap();
        runs(&host, 3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_wrong_is_refused_before_anything_is_written() {
    let store: Arc<dyn Store> = Arc::new(Embedded::new());
    let fleet = Fleet::new(store.clone(), "");
    let wrong = sandbar_fleet::Deploy { manifest: "name = 1".to_owned(), ..deploy(1) };
    assert!(matches!(fleet.deploy(TENANT, wrong).await, Err(FleetError::Manifest(_))));
    let large = sandbar_fleet::Deploy { manifest: " ".repeat(70_000), ..deploy(1) };
    assert_eq!(fleet.deploy(TENANT, large).await, Err(FleetError::ManifestTooLarge(70_000)));
    assert_eq!(fleet.plugins(None).await.unwrap(), []);
    let none = fleet.rollback(TENANT, PLUGIN, None, "bob", "").await.unwrap_err();
    assert_eq!(none.to_string(), "no plugin `guest` of the tenant `default` was ever deployed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_cannot_run_what_is_active_says_so() {
    let server = RedisServer::start();
    let store = redis(&server).await;
    let fleet = Fleet::new(store.clone(), "");
    fleet.deploy(TENANT, deploy_bytes(1, b"garbage".to_vec())).await.unwrap();
    let host = host(&store).await;
    let health = host.health();
    assert_eq!(health.plugins.len(), 1);
    assert!(!health.plugins[0].running && !health.is_ready());
    assert!(health.degraded[0].contains("`guest` does not run what is deployed"), "{:?}", health.degraded);
    poll_until(PATIENCE, "the fleet knows", async || {
        let nodes = fleet.nodes().await.unwrap();
        nodes.iter().any(|node| node.host == host.id() && node.faults.iter().any(|fault| fault.contains("`guest`")))
    })
    .await;
    let hosts = fleet.outcomes(TENANT, PLUGIN, 1).await.unwrap();
    assert!(matches!(&hosts[0].standing, Some(ReleaseState::Failed { .. })), "{hosts:?}");
    fleet.deploy(TENANT, deploy(2)).await.unwrap();
    runs(&host, 2).await;
    assert_eq!(host.health().degraded, Vec::<String>::new());
    host.shutdown().await;
    assert_eq!(fleet.nodes().await.unwrap(), [], "it has said goodbye");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_the_store_loses_stop_nothing() {
    let server = RedisServer::start();
    let store = redis(&server).await;
    let fleet = Fleet::new(store.clone(), "");
    let host = host(&store).await;
    fleet.deploy(TENANT, deploy(1)).await.unwrap();
    server.ask(&["FLUSHALL"]);
    poll_until(PATIENCE, "the host announces itself again", async || !fleet.nodes().await.unwrap().is_empty()).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(host.plugins().len(), 1);
    fleet.deploy(TENANT, deploy(2)).await.unwrap();
    poll_until(PATIENCE, "what is deployed then runs", async || {
        host.plugins()[0].version == sandbar_runtime::plugin::digest(&version(2))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_announced_and_not_found_by_polling() {
    for (_server, store) in both().await {
        let fleet = Fleet::new(store.clone(), "");
        let host = host(&store).await;
        let mut digests = Vec::new();
        for number in 1..=2 {
            digests.push(fleet.deploy(TENANT, deploy(number)).await.unwrap().digest);
        }
        // A host that looks by itself has just done so when the next change is made: all of these would take as long
        // as it rests.
        let mut shortest = Duration::MAX;
        for (number, digest) in (1..).zip(&digests).cycle().take(6) {
            let begun = Instant::now();
            fleet.rollback(TENANT, PLUGIN, Some(digest), "bob", "").await.unwrap();
            runs(&host, number).await;
            shortest = shortest.min(begun.elapsed());
        }
        println!("a host went back within {shortest:?}");
        assert!(shortest < Duration::from_millis(HEARTBEAT_MS) / 2, "it took {shortest:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deployed_at_this_moment_is_not_collected() {
    let server = RedisServer::start();
    let store = redis(&server).await;
    let fleet = Fleet::new(store, "");
    for round in 0..100_u64 {
        // Nothing refers to it yet, so it may be collected at any moment until something does.
        let bytes = format!("component {round}").into_bytes();
        let digest = sandbar_runtime::plugin::digest(&bytes);
        server.ask(&["SET", &format!("sandbar:fleet:component:{digest}"), "x"]);
        server.ask(&["SADD", "sandbar:fleet:components", &digest]);
        let (deploy, collector) = (deploy_bytes(round, bytes), fleet.clone());
        let collected = tokio::spawn(async move {
            // Earlier and later in comparison with the deploy, so that some meet it between their look and their
            // commit.
            for _ in 0..round % 5 {
                collector.changes().await.unwrap();
            }
            collector.collect().await.unwrap();
        });
        fleet.deploy(TENANT, deploy).await.unwrap();
        collected.await.unwrap();
        assert!(fleet.component(&digest).await.unwrap().is_some(), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_write_is_cleaned_and_bounded() {
    let fleet = Fleet::new(Arc::new(Embedded::new()), "");
    let by = |by: &str, number| sandbar_fleet::Deploy { by: by.to_owned(), ..deploy(number) };
    fleet.deploy(TENANT, by("a\u{1b}[31mda\n", 1)).await.unwrap();
    fleet.deploy(TENANT, by(&"long ".repeat(1000), 2)).await.unwrap();
    let record = fleet.rollback(TENANT, PLUGIN, None, "b\0ob", &format!("\t{}", "x".repeat(1000))).await.unwrap();
    assert_eq!(record.active.unwrap().by, "a[31mda");
    assert_eq!(record.history[0].release.by.chars().count(), WORDS_MAX);
    let why = EndReason::RolledBack { by: "bob".to_owned(), reason: "x".repeat(WORDS_MAX) };
    assert_eq!(record.history[0].why, why);
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_of_long_ago_are_forgotten() {
    let server = RedisServer::start();
    let store = redis(&server).await;
    let fleet = Fleet::new(store.clone(), "");
    let old = sandbar_fleet::Node { host: "old".to_owned(), seen_ms: 1, ..sandbar_fleet::Node::default() };
    fleet.beat(&old).await.unwrap();
    assert_eq!(server.get::<Vec<String>>(&["HKEYS", "sandbar:fleet:nodes"]), ["old"]);
    assert_eq!(fleet.nodes().await.unwrap(), [], "it is not listed any more");
    let host = host(&store).await;
    poll_until(PATIENCE, "it is forgotten", async || {
        server.get::<Vec<String>>(&["HKEYS", "sandbar:fleet:nodes"]) == [host.id()]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_is_damaged_is_not_run_and_is_asked_for_again() {
    let server = RedisServer::start();
    let store = redis(&server).await;
    let fleet = Fleet::new(store.clone(), "");
    let digest = fleet.deploy(TENANT, deploy(1)).await.unwrap().digest;
    let key = format!("sandbar:fleet:component:{digest}");
    server.ask(&["RENAME", &key, "away"]);
    fleet
        .deploy(TENANT, sandbar_fleet::Deploy { manifest: marked(TRIGGER, 7), ..deploy_bytes(2, version(2)) })
        .await
        .unwrap();
    let second = sandbar_runtime::plugin::digest(&version(2));
    server.ask(&["COPY", "away", &format!("sandbar:fleet:component:{second}"), "REPLACE"]);
    let host = host(&store).await;
    let fault = host.health().degraded.join("\n");
    assert!(fault.contains(&format!("is damaged: its digest is `{digest}`, and not `{second}`")), "{fault}");
    assert_eq!(host.plugins().len(), 0);
    fleet.rollback(TENANT, PLUGIN, None, "bob", "").await.unwrap();
    poll_until(PATIENCE, "it is missed", async || {
        host.health().degraded.iter().any(|fault| fault.contains(&format!("there is no component `{digest}`")))
    })
    .await;
    server.ask(&["RENAME", "away", &key]);
    runs(&host, 1).await;
    poll_until(PATIENCE, "it is as it should be", async || host.health().is_ready()).await;
}
