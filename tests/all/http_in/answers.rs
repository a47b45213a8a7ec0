//! The answer goes out after the commit, and says what became of it.

use std::time::Duration;

use sandbar_tests::host::PATIENCE;
use sandbar_tests::{Options, RedisServer, components, poll_until};
use tokio::io::AsyncReadExt;

use super::site::{manifest, redis};
use super::{Site, request};

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_answers_below_its_route() {
    Site::on_both(components::HTTP_SERVE, "", async |site| {
        let answer = site.post("/t/echo?a=1&b", "the body").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\r\nx-b: b\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nPOST /t/echo a=1&b a the body"), "{answer}");
        assert!(site.post("/t/json", "41").await.ends_with("\r\n\r\n42"));
        assert!(site.post("/t/json", "x").await.starts_with("HTTP/1.1 400"));
        assert!(site.get("/t").await.ends_with("no such path"));
        assert!(site.get("/t/?x").await.ends_with("no such path"));
        for elsewhere in ["/", "/tea", "/x/t", "//t", "/T"] {
            let answer = site.get(elsewhere).await;
            assert!(answer.starts_with("HTTP/1.1 404") && answer.ends_with("\r\n\r\n"), "{elsewhere}: {answer}");
        }
        let head = site.ask("HEAD", "/t/plain", "").await;
        assert!(
            head.starts_with("HTTP/1.1 200") && head.contains("content-length: 5\r\n") && head.ends_with("\r\n\r\n")
        );
        assert!(site.exchange("GET /t/plain HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 400"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_answer_has_written_is_there() {
    Site::on_both(components::HTTP_SERVE, "", async |site| {
        for number in 0..20 {
            let value = number.to_string();
            assert!(site.post("/t/set", &value).await.starts_with("HTTP/1.1 201 Created"));
            assert_eq!(site.test.value("k").await, Some(value.clone()));
            assert!(site.get("/t/read").await.ends_with(&format!("\r\n\r\n{value}")));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_writes_nothing() {
    Site::on_both(components::HTTP_SERVE, "", async |site| {
        for (target, status) in [("/t/problem", 409), ("/t/trap", 500)] {
            let answer = site.post(target, "x").await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
            assert!(!answer.contains("purpose"), "the answer has no internal detail: {answer}");
            assert_eq!(site.test.value("k").await, None, "{target}");
        }
        let answer = site.post("/t/push-and-add", "").await;
        assert!(answer.starts_with("HTTP/1.1 500"), "a write was refused: {answer}");
        assert_eq!(site.test.store.list_length("list").await.unwrap(), 1, "the other stands");
        let answer = site.post("/t/conflict", "").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 0\r\n"), "{answer}");
        assert_eq!(site.test.value("after").await, None);
        assert!(site.get("/t/plain").await.starts_with("HTTP/1.1 200"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_answer_writes_nothing() {
    Site::on_both(components::HTTP_RAW, "", async |site| {
        for target in ["/t/unanswered", "/t/error", "/t/status"] {
            let answer = site.get(target).await;
            assert!(answer.starts_with("HTTP/1.1 500"), "{target}: {answer}");
            assert_eq!(site.test.value("k").await, None, "{target}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_waits_for_its_commit() {
    let server = RedisServer::start();
    let site = Site::on(redis(&server).await, components::HTTP_SERVE, &manifest("", "")).await;
    assert!(site.post("/t/set", "1").await.starts_with("HTTP/1.1 201"));
    server.pause();
    let mut client = site.client().await;
    client.send(request("POST", "/t/set", "2")).await;
    assert!(site.get("/t/plain").await.starts_with("HTTP/1.1 200"), "what writes nothing does not wait");
    let early = tokio::time::timeout(Duration::from_millis(400), client.0.read_u8()).await;
    server.resume();
    assert!(early.is_err(), "an answer came before its commit");
    assert!(client.rest().await.starts_with("HTTP/1.1 201"));
    assert_eq!(site.test.value("k").await.as_deref(), Some("2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_writes_are_refused_and_the_rest_is_answered() {
    let server = Options::new().port().append_only().start();
    let site = Site::on(redis(&server).await, components::HTTP_SERVE, &manifest("", "")).await;
    assert!(site.post("/t/set", "1").await.starts_with("HTTP/1.1 201"));
    server.kill();
    for _ in 0..5 {
        let answer = site.post("/t/set", "2").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1\r\n"), "{answer}");
        assert!(site.get("/t/plain").await.ends_with("plain"));
        assert!(site.get("/t/read").await.starts_with("HTTP/1.1 503"), "the plugin's own answer");
    }
    server.restart();
    poll_until(PATIENCE, "writes are answered again", async || {
        site.post("/t/set", "3").await.starts_with("HTTP/1.1 201")
    })
    .await;
    poll_until(PATIENCE, "reads too", async || site.get("/t/read").await.ends_with("\r\n\r\n3")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_has_triggers_of_both_kinds() {
    let both = "[[trigger]]\ntype = \"stream\"\nstream = \"events\"\nstart = \"0\"";
    Site::on_both(components::HTTP_SERVE, both, async |site| {
        let events: Vec<&[(&str, &str)]> = vec![&[("n", "1")]; 50];
        site.test.feed(&events).await;
        for _ in 0..10 {
            assert!(site.post("/t/set", "x").await.starts_with("HTTP/1.1 201"));
        }
        site.test.settled(50).await;
        assert!(site.get("/t/read?key=handled").await.ends_with("\r\n\r\n50"));
    })
    .await;
}
