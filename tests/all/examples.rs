//! The small examples of `examples/` do what they say.

use std::sync::Arc;

use sandbar_store::embedded::Embedded;
use sandbar_store::{Commit, Effect, EntryId, Remaining};
use sandbar_tests::host::PATIENCE;
use sandbar_tests::{TestHost, components, poll_until};

use crate::http_in::site::Site;

const LOCK: &str = include_str!("../../examples/lock/plugin.toml");
const SESSIONS: &str = include_str!("../../examples/sessions/plugin.toml");
const SCHEDULE: &str = include_str!("../../examples/schedule/plugin.toml");

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_notified_once() {
    let test = TestHost::embedded(components::EXAMPLE_LOCK, LOCK).await.reading("alerts");
    poll_until(PATIENCE, "it reads", async || sandbar_server::http::Health::health(&test.host).is_ready()).await;
    for _ in 0..3 {
        test.feed(&[&[("fingerprint", "disk-full")], &[("fingerprint", "cpu-hot")]]).await;
    }
    test.settled(6).await;
    let sent = test.store.range("notifications", EntryId::ZERO, EntryId::MAX, 100, false).await.unwrap();
    let of = |name: &str| sent.iter().map(|entry| sandbar_tests::host::text(entry, name)).collect::<Vec<_>>();
    assert_eq!(of("fingerprint"), ["disk-full", "cpu-hot"]);
    assert_eq!(Some(of("token")[0].clone()), test.value("alert:sent:disk-full").await);
    assert_eq!(test.value("lock:alert:disk-full").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn visits_are_kept_by_the_minute() {
    // A second instead of a minute.
    let manifest = SCHEDULE.replace("\"* * * * *\"", "\"* * * * * *\"");
    assert_ne!(manifest, SCHEDULE);
    let test = TestHost::embedded(components::EXAMPLE_SCHEDULE, &manifest).await;
    let effects = [Effect::Add { key: "visits".to_owned(), by: 3 }];
    let commit = Commit::plain(&effects, &[]);
    test.store.commit(commit).await.unwrap();
    let kept = async || test.store.hash_get_all("visits:minutes").await.unwrap();
    poll_until(PATIENCE, "a tick is run", async || !kept().await.is_empty()).await;
    assert_eq!(kept().await[0].value, "3");
    assert_eq!(test.value("visits").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_kept_read_and_ended() {
    let store = Arc::new(Embedded::new());
    let site = Site::on(store, components::EXAMPLE_SESSIONS, SESSIONS).await;
    poll_until(PATIENCE, "it runs", async || sandbar_server::http::Health::health(&site.test.host).is_ready()).await;
    let ask = async |method: &str, target: &str, body: &str| site.ask(method, target, body).await;
    assert!(ask("GET", "/sessions/a1", "").await.starts_with("HTTP/1.1 404"));
    assert!(ask("PUT", "/sessions/a1", "ada").await.starts_with("HTTP/1.1 204"));
    let read = ask("GET", "/sessions/a1", "").await;
    assert!(read.starts_with("HTTP/1.1 200") && read.ends_with("ada"), "{read}");
    assert!(matches!(site.test.store.ttl("session:a1").await, Ok(Remaining::Ms(1..=1_800_000))));
    assert!(ask("DELETE", "/sessions/a1", "").await.starts_with("HTTP/1.1 204"));
    assert!(ask("GET", "/sessions/a1", "").await.starts_with("HTTP/1.1 404"));
    assert!(ask("POST", "/sessions/a1", "").await.starts_with("HTTP/1.1 405"));
    assert!(ask("GET", "/sessions/", "").await.starts_with("HTTP/1.1 404"));
    poll_until(PATIENCE, "the messages are counted", async || {
        (site.test.value("sessions:begun").await, site.test.value("sessions:ended").await)
            == (Some("1".to_owned()), Some("1".to_owned()))
    })
    .await;
}
