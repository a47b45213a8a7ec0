//! Routes, replacements and the end of a host.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sandbar_core::config::Config;
use sandbar_server::host::Drained;
use sandbar_store::embedded::Embedded;
use sandbar_tests::host::PATIENCE;
use sandbar_tests::{components, poll_until};

use super::site::manifest;
use super::{Site, request};

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_route_wins_and_the_hosts_own_paths_go_before() {
    let site = Site::embedded(components::HTTP_RAW, "").await;
    let other = |name: &str, route: &str| {
        manifest("", "").replace("\"guest\"", &format!("{name:?}")).replace("\"/t\"", &format!("{route:?}"))
    };
    site.test.load(components::HTTP_SERVE, &other("longer", "/t/echo/")).await.unwrap();
    site.test.load(components::HTTP_SERVE, &other("root", "/")).await.unwrap();
    assert!(site.get("/t/echo").await.contains("GET /t/echo"));
    assert!(site.get("/t/echo/x").await.starts_with("HTTP/1.1 404"), "it is asked, and has no such path");
    assert!(site.get("/t/unanswered").await.starts_with("HTTP/1.1 500"));
    assert!(site.get("/elsewhere").await.ends_with("not below the route"));
    assert!(site.get("/healthz").await.contains("\"phase\""));
    assert!(site.post("/metrics", "").await.starts_with("HTTP/1.1 405"));
    for route in ["/t", "/t/", "/t/echo", "/"] {
        let refused = site.test.load(components::HTTP_SERVE, &other("another", route)).await.unwrap_err().to_string();
        assert!(refused.contains("another") && refused.contains("which the plugin"), "{refused}");
    }
    site.test.load(components::HTTP_SERVE, &other("guest", "/moved")).await.unwrap();
    assert!(site.get("/t/unanswered").await.ends_with("no such path"), "the route is free, and `/` is above it");
    site.test.load(components::HTTP_SERVE, &other("another", "/t")).await.unwrap();
}

#[test]
fn routes_that_cannot_be_are_refused() {
    let refused = |route: &str| {
        let manifest =
            sandbar_core::manifest::Manifest::parse(&manifest("", "").replace("\"/t\"", &format!("{route:?}")));
        assert!(manifest.unwrap_err().to_string().contains("trigger.route"), "{route}");
    };
    ["", "t", "/a?b", "/a*", "/healthz", "/healthz/x", "/api/v1", "/metrics/"].into_iter().for_each(refused);
    let twice = manifest("[[trigger]]\ntype = \"http\"\nroute = \"/t/\"", "");
    assert!(sandbar_core::manifest::Manifest::parse(&twice).unwrap_err().to_string().contains("two triggers"));
    assert!(sandbar_core::manifest::Manifest::parse(&manifest("", "").replace("\"/t\"", "\"/apis\"")).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_a_plugin_is_replaced() {
    let compiled = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.engine.cache_dir = Some(compiled.path().to_owned());
    let store = Arc::new(Embedded::new());
    let site = Arc::new(Site::with(config, store, components::HTTP_SERVE, &manifest("", "")).await);
    let stop = Arc::new(AtomicBool::new(false));
    let asked = {
        let (site, stop) = (site.clone(), stop.clone());
        tokio::spawn(async move {
            let mut asked = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                let answer = site.post("/t/set", "x").await;
                assert!(answer.starts_with("HTTP/1.1 201"), "after {asked}: {answer}");
                asked += 1;
            }
            asked
        })
    };
    for round in 0..20 {
        // Every second time the trigger changes too.
        let trigger = format!("concurrency = {}", 10 + round / 2);
        site.test.load(components::HTTP_SERVE, &manifest(&trigger, "")).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    assert!(asked.await.unwrap() > 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_finishes_what_is_under_way_and_takes_no_more() {
    let site = Arc::new(Site::embedded(components::HTTP_RAW, "").await);
    let head = "POST /t/wait HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 1\r\n\r\n";
    let mut client = site.client().await;
    client.send(head).await;
    poll_until(PATIENCE, "it is under way", async || site.test.value("begun").await.is_some()).await;
    let shutdown = {
        let site = site.clone();
        tokio::spawn(async move { site.test.host.shutdown().await })
    };
    let refused = async || site.exchange(request("POST", "/t/wait", "x")).await.starts_with("HTTP/1.1 503");
    poll_until(PATIENCE, "no more are taken", refused).await;
    assert!(!shutdown.is_finished());
    client.send("x").await;
    assert!(client.rest().await.starts_with("HTTP/1.1 200"));
    assert_eq!(shutdown.await.unwrap(), Drained::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_finished_in_time_is_dropped() {
    let config = Config { shutdown_grace: Duration::from_millis(200), ..Config::default() };
    let site = Site::with(config, Arc::new(Embedded::new()), components::HTTP_RAW, &manifest("", "")).await;
    let mut client = site.client().await;
    client.send("POST /t/wait HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 1\r\n\r\n").await;
    poll_until(PATIENCE, "it is under way", async || site.test.value("begun").await.is_some()).await;
    assert_eq!(site.test.host.shutdown().await, Drained::GraceElapsed { batches: 1 });
    assert!(client.rest().await.starts_with("HTTP/1.1 503"));
    assert_eq!(site.test.value("read").await, None);
}
