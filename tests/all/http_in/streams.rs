//! Bodies in parts, both ways, and what is written after the head.

use sandbar_tests::components;

use super::Site;

#[tokio::test(flavor = "multi_thread")]
async fn parts_go_back_as_they_come() {
    let site = Site::embedded(components::HTTP_RAW, "").await;
    let mut client = site.client().await;
    client.send("POST /t/parts HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n").await;
    client.until("begin,\r\n").await;
    for part in ["one", "two", "three"] {
        client.send(format!("{:x}\r\n{part}\r\n", part.len())).await;
        client.until(&format!("{part}\r\n")).await;
    }
    client.send("0\r\n\r\n").await;
    assert!(client.rest().await.ends_with("0\r\n\r\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_after_the_head_is_there_before_the_end() {
    Site::on_both(components::HTTP_RAW, "", async |site| {
        for target in ["/t/late", "/t/late-unknown-length"] {
            let answer = site.get(target).await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("late"), "{answer}");
            let written = (site.test.value("early").await, site.test.value("late").await);
            assert_eq!(written, (Some("x".to_owned()), Some("x".to_owned())), "{target}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_after_the_head_is_cut() {
    Site::on_both(components::HTTP_RAW, "", async |site| {
        let answer = site.get("/t/late-trap").await;
        // What was not sent yet may be lost with the connection, the head included.
        assert!(!answer.contains("late\r\n") && !answer.ends_with("late"), "the last part is held back: {answer}");
        assert_eq!(site.test.value("early").await.as_deref(), Some("x"), "it was committed before the head");
        assert_eq!(site.test.value("late").await, None);
        let answer = site.get("/t/late-trap-unknown-length").await;
        assert!(!answer.ends_with("0\r\n\r\n"), "it is cut, not ended: {answer}");
        assert_eq!(site.test.value("late").await, None);
        // An answer that is only a head goes out when the call has ended.
        assert!(site.get("/t/late-head").await.starts_with("HTTP/1.1 500"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_finished_is_cut_and_a_request_that_is_kept_is_taken_away() {
    let site = Site::embedded(components::HTTP_RAW, "").await;
    for _ in 0..3 {
        let answer = site.get("/t/unfinished").await;
        assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
    }
    assert!(site.get("/t/late").await.ends_with("late"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_kept_unread_does_not_hold_the_connection() {
    let site = Site::embedded(components::HTTP_RAW, "").await;
    for _ in 0..3 {
        let mut client = site.client().await;
        client.send("POST /t/keep HTTP/1.1\r\nhost: h\r\ncontent-length: 200000\r\n\r\n").await;
        client.send("x".repeat(100_000)).await;
        // The rest of it never comes, and would not be read.
        assert!(client.rest().await.starts_with("HTTP/1.1 200"));
    }
}
