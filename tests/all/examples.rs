//! The small examples of `examples/` do what they say.

use sandbar::store::{Commit, Effect, EntryId};
use sandbar_tests::host::PATIENCE;
use sandbar_tests::{TestHost, components, poll_until};

const LOCK: &str = include_str!("../../examples/lock/plugin.toml");
const SCHEDULE: &str = include_str!("../../examples/schedule/plugin.toml");

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_notified_once() {
    let test = TestHost::embedded(components::EXAMPLE_LOCK, LOCK).await.reading("alerts");
    poll_until(PATIENCE, "it reads", async || sandbar::http::Health::health(&test.host).is_ready()).await;
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
