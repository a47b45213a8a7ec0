//! How much the API does at one time.

use sandbar_core::token::Role;
use sandbar_tests::host::PATIENCE;
use sandbar_tests::poll_until;

use super::site::Site;

/// Requests that are worked on at one time, and components that are received.
const REQUESTS: usize = 64;
const UPLOADS: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_bounded_and_those_that_are_over_make_room() {
    let site = Site::start().await;
    let key = site.key("acme", Role::Operate).await;
    let mut begun = Vec::new();
    for _ in 0..REQUESTS {
        begun.push(site.begin("/dead/drop", &key, "application/json").await);
    }
    let mut answer = site.get("/queues", &key).await;
    poll_until(PATIENCE, "there is no room", async || {
        // A look takes a place too, so one of those above may have been refused.
        begun.push(site.begin("/dead/drop", &key, "application/json").await);
        answer = site.get("/queues", &key).await;
        answer.status == 503
    })
    .await;
    assert!(answer.error().contains("too many requests") && answer.head.contains("retry-after: 1"), "{answer:?}");
    begun.clear();
    poll_until(PATIENCE, "there is room again", async || site.get("/queues", &key).await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn components_that_are_received_are_bounded() {
    let site = Site::start().await;
    let key = site.key("acme", Role::Deploy).await;
    let mut begun = Vec::new();
    let deploy = async || site.deploy("", &key, "name = 1", b"x").await;
    for _ in 0..UPLOADS {
        begun.push(site.begin("/plugins", &key, "multipart/form-data; boundary=frontier").await);
    }
    let mut answer = deploy().await;
    poll_until(PATIENCE, "there is no room", async || {
        // A deploy takes a place too, so one of those above may have been refused.
        begun.push(site.begin("/plugins", &key, "multipart/form-data; boundary=frontier").await);
        answer = deploy().await;
        answer.status == 503
    })
    .await;
    assert!(answer.error().contains("other components"), "{answer:?}");
    begun.clear();
    poll_until(PATIENCE, "there is room again", async || deploy().await.status == 400).await;
}
