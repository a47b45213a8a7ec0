//! A canary gets its share of the calls, whatever triggers them.

use sandbar_runtime::rollout::Trial;
use sandbar_server::http::Health;
use sandbar_store::{Commit, Effect};
use sandbar_tests::host::PATIENCE;
use sandbar_tests::{TestHost, components, poll_until};

use super::parsed;
use crate::http_in::site::Front;

const CALLS: u64 = 80;
const PERCENT: u8 = 25;

/// A manifest whose plugin counts its calls under a key.
fn counting(trigger: &str, key: &str) -> String {
    let grants = "[grants]\nread = [\"*\"]\nwrite = [\"*\"]";
    format!("name = \"guest\"\n[[trigger]]\n{trigger}\n{grants}\n[config]\ndo = \"nothing\"\nmark = \"{key}\"\n")
}

/// A host with a version that counts under `active`, and a canary that counts under `candidate`.
async fn host(trigger: &str) -> TestHost {
    let test = TestHost::embedded(components::LIMIT_MEET, &counting(trigger, "active")).await;
    poll_until(PATIENCE, "its trigger runs", async || test.host.health().is_ready()).await;
    let (manifest, bytes) = (parsed(&counting(trigger, "candidate")), std::fs::read(components::LIMIT_MEET).unwrap());
    let trial = Trial::Canary { percent: PERCENT };
    test.host.first().unwrap().begin_trial(manifest, bytes, trial).await.unwrap();
    test
}

/// The calls of the active version and of the candidate.
async fn counts(test: &TestHost) -> (u64, u64) {
    let count = async |key| test.value(key).await.map_or(0, |count| count.parse().unwrap());
    (count("active").await, count("candidate").await)
}

/// Waits until all calls are done, and looks at whose they were.
async fn is_shared(test: &TestHost) {
    poll_until(PATIENCE, "all calls are done", async || {
        let (active, candidate) = counts(test).await;
        active + candidate == CALLS
    })
    .await;
    let share = CALLS * u64::from(PERCENT) / 100;
    assert_eq!(counts(test).await, (CALLS - share, share));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_requests() {
    let test = host("type = \"http\"\nroute = \"/t\"").await;
    let front = Front::of(test.host.routes()).await;
    for _ in 0..CALLS {
        let answer = front.get("/t").await;
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    }
    is_shared(&test).await;
    let standing = test.host.plugins()[0].rollout.trial().unwrap().2.unwrap();
    assert_eq!((standing.events, standing.failed), (CALLS * u64::from(PERCENT) / 100, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_messages() {
    let test = host("type = \"channel\"\nchannel = \"news\"\nbatch = 1").await;
    for _ in 0..CALLS {
        let message = Effect::Publish { channel: "news".to_owned(), payload: "x".into() };
        test.store.commit(Commit::plain(&[message], &[])).await.unwrap();
    }
    is_shared(&test).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_jobs() {
    let test = host("type = \"queue\"\nqueue = \"jobs\"\nbatch = 1").await;
    let queue = std::sync::Arc::new(sandbar_store::JobQueue::new("", "jobs"));
    let payloads = (0..CALLS).map(|n| n.to_string().into()).collect();
    let jobs = Effect::Push { queue, payloads, options: sandbar_store::PushOptions::default() };
    test.store.commit(Commit::plain(&[jobs], &[])).await.unwrap();
    is_shared(&test).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ticks() {
    let test = host("type = \"schedule\"\nname = \"often\"\nevery = \"10ms\"").await;
    // Those before the trial belong to no share; one more may have been under way when it began.
    let before = counts(&test).await.0;
    poll_until(PATIENCE, "it has ticked often", async || {
        let (active, candidate) = counts(&test).await;
        active + candidate - before >= CALLS
    })
    .await;
    test.host.shutdown().await;
    let (active, candidate) = counts(&test).await;
    let share = (active - before + candidate) * u64::from(PERCENT) / 100;
    assert!(candidate.abs_diff(share) <= 1, "{candidate} of {}, not {share}", active - before + candidate);
}
