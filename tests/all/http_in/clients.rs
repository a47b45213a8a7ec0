//! Clients that hang up, half or whole.

use sandbar_runtime::telemetry::Exporter;
use sandbar_tests::host::PATIENCE;
use sandbar_tests::{components, poll_until};
use tokio::io::AsyncWriteExt;

use super::site::manifest;
use super::{Site, request};

const WAIT: &str = "POST /t/wait HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 5\r\n\r\n12";

async fn begun(site: &Site, count: &str) {
    poll_until(PATIENCE, "the call is under way", async || site.test.value("begun").await.as_deref() == Some(count))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_ends_the_call() {
    // One at a time, so that the next request is answered only when the call before has ended.
    let site = Site::embedded(components::HTTP_RAW, "concurrency = 1\ntimeout = \"1h\"").await;
    let mut client = site.client().await;
    client.send(WAIT).await;
    begun(&site, "1").await;
    drop(client);
    let served = async || site.exchange(request("POST", "/t/wait", "x")).await.starts_with("HTTP/1.1 200");
    poll_until(PATIENCE, "the turn is free again", served).await;
    let (begun, read) = (site.test.value("begun").await.unwrap(), site.test.value("read").await.unwrap());
    assert_eq!(begun.parse::<u32>().unwrap(), read.parse::<u32>().unwrap() + 1, "nothing more was committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_ends_a_call_that_reads_nothing() {
    let site = Site::embedded(components::HTTP_SERVE, "concurrency = 1\ntimeout = \"1h\"").await;
    let mut client = site.client().await;
    client.send(request("GET", "/t/spin", "")).await;
    let is_busy = async || site.get("/t/plain").await.starts_with("HTTP/1.1 503");
    poll_until(PATIENCE, "the call is under way", is_busy).await;
    drop(client);
    let served = async || site.get("/t/plain").await.starts_with("HTTP/1.1 200");
    poll_until(PATIENCE, "the turn is free again", served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_half_of_the_connection_has_hung_up() {
    let site = Site::embedded(components::HTTP_RAW, "concurrency = 1\ntimeout = \"1h\"").await;
    let mut client = site.client().await;
    client.send(WAIT).await;
    begun(&site, "1").await;
    client.0.shutdown().await.unwrap();
    let answer = client.rest().await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(site.exchange(request("POST", "/t/wait", "x")).await.starts_with("HTTP/1.1 200"));
    assert_eq!(site.test.value("read").await.as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_by_status() {
    let named = manifest("concurrency = 4", "").replace("\"guest\"", "\"http-counted\"");
    let store = std::sync::Arc::new(sandbar_store::embedded::Embedded::new());
    let site = Site::on(store, components::HTTP_SERVE, &named).await;
    for _ in 0..3 {
        site.get("/t/plain").await;
    }
    site.get("/t/missing").await;
    site.post("/t/trap", "").await;
    let wanted = ["2xx\"} 3", "4xx\"} 1", "5xx\"} 1"];
    let line =
        |rest: &str| format!("sandbar_requests_total{{tenant=\"default\",plugin=\"http-counted\",status=\"{rest}");
    let count = "sandbar_request_seconds_count{tenant=\"default\",plugin=\"http-counted\"} 5";
    poll_until(PATIENCE, "all are counted", async || {
        let text = Exporter::install().render();
        text.contains(count) && wanted.iter().all(|rest| text.contains(&line(rest)))
    })
    .await;
}
