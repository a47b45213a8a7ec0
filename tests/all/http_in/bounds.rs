//! Bodies, heads, time and the number of requests are bounded.

use std::time::{Duration, Instant};

use sandbar_tests::components;
use sandbar_tests::host::PATIENCE;
use sandbar_tests::poll_until;

use super::{Site, request};

const SMALL: &str = "request-bytes = \"1000B\"\nresponse-bytes = \"2000B\"";

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_requests() {
    let site = Site::embedded(components::HTTP_SERVE, SMALL).await;
    assert!(site.post("/t/set", &"x".repeat(1000)).await.starts_with("HTTP/1.1 201"));
    assert!(site.post("/t/set", &"y".repeat(1001)).await.starts_with("HTTP/1.1 413"));
    let announced = "POST /t/set HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 1000000000\r\n\r\n";
    assert!(site.exchange(announced).await.starts_with("HTTP/1.1 413"), "nothing of it is read");
    let head = "POST /t/set HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let part = format!("{:x}\r\n{}\r\n", 500, "z".repeat(500));
    let chunked = |parts: usize| format!("{head}{}0\r\n\r\n", part.repeat(parts));
    assert!(site.exchange(chunked(3)).await.starts_with("HTTP/1.1 413"));
    assert_eq!(site.test.value("k").await, Some("x".repeat(1000)), "nothing of it was written");
    assert!(site.exchange(chunked(2)).await.starts_with("HTTP/1.1 201"));
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_of_requests() {
    let site = Site::embedded(components::HTTP_SERVE, "").await;
    let many = format!("GET /t/plain HTTP/1.1\r\nhost: h\r\n{}\r\n", "x: y\r\n".repeat(64));
    assert!(site.exchange(many).await.starts_with("HTTP/1.1 431"));
    let long = format!("GET /t/plain HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "y".repeat(17_000));
    assert!(site.exchange(long).await.starts_with("HTTP/1.1 431"));
    let target = format!("GET /t/{} HTTP/1.1\r\nhost: h\r\n\r\n", "y".repeat(17_000));
    assert!(site.exchange(target).await.starts_with("HTTP/1.1 4"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_answers() {
    let site = Site::embedded(components::HTTP_SERVE, SMALL).await;
    assert!(site.get("/t/size?key=2000").await.ends_with(&"x".repeat(2000)));
    assert!(site.get("/t/size?key=2001").await.starts_with("HTTP/1.1 500"), "it announces too many");
    let site = Site::embedded(components::HTTP_RAW, SMALL).await;
    let endless = site.get("/t/endless").await;
    assert!(endless.starts_with("HTTP/1.1 200") && endless.len() < 4000, "{} bytes", endless.len());
    assert!(!endless.ends_with("\r\n0\r\n\r\n"), "it is cut, not ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn time() {
    let site = Site::embedded(components::HTTP_SERVE, "timeout = \"300ms\"").await;
    let begun = Instant::now();
    assert!(site.get("/t/spin").await.starts_with("HTTP/1.1 504"));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let mut slow = site.client().await;
    slow.send("POST /t/set HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 5\r\n\r\n123").await;
    let answer = slow.rest().await;
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert_eq!(site.test.value("k").await, None);
    assert!(site.get("/t/plain").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_a_time() {
    let site = Site::embedded(components::HTTP_RAW, "concurrency = 2").await;
    let head = "POST /t/wait HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 1\r\n\r\n";
    let (mut first, mut second) = (site.client().await, site.client().await);
    first.send(head).await;
    second.send(head).await;
    poll_until(PATIENCE, "both are under way", async || site.test.value("begun").await.as_deref() == Some("2")).await;
    let answer = site.exchange(request("POST", "/t/wait", "x")).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1\r\n"), "{answer}");
    first.send("x").await;
    assert!(first.rest().await.starts_with("HTTP/1.1 200"));
    assert!(site.exchange(request("POST", "/t/wait", "x")).await.starts_with("HTTP/1.1 200"));
    second.send("x").await;
    assert!(second.rest().await.starts_with("HTTP/1.1 200"));
    assert_eq!(site.test.value("read").await.as_deref(), Some("3"));
}
