//! A version that is worse than the one before it is found out within its probation, and one that is as good is not.

use std::sync::Arc;

use sandbar_fleet::EndReason;
use sandbar_runtime::rollout::{FailedProbation, Rollout, Trial};
use sandbar_tests::host::PATIENCE;
use sandbar_tests::{TestHost, components, poll_until};

use super::{differing, feed, parsed, plain, version};

const TRIGGER: &str = "batch = 10\nmax-attempts = 2\nretry-min = \"10ms\"\nretry-max = \"20ms\"";

/// A host on which a first version has handled 300 events, and what watches it.
async fn host(trigger: &str) -> (TestHost, Arc<Rollout>) {
    let test = TestHost::embedded(components::HANDLE_TRIAL, &plain(trigger, "")).await;
    feed(&test, 1..301).await;
    test.settled(300).await;
    let rollout = test.host.plugins()[0].rollout.clone();
    assert_eq!(rollout.probation(), None, "the first version is not judged");
    let watched = rollout.clone();
    // The host may watch it as well; one of the two sees it.
    tokio::spawn(async move { watched.failed_probation().await });
    (test, rollout)
}

async fn failed_probation(rollout: &Rollout) -> FailedProbation {
    poll_until(PATIENCE, "the version fails probation", async || rollout.last_failed_probation().is_some()).await;
    rollout.last_failed_probation().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_traps_on_one_event_in_twenty_fails_probation() {
    let (test, rollout) = host(TRIGGER).await;
    test.host.load_bytes(parsed(&differing("trap", 20, TRIGGER, "")), version(1)).await.unwrap();
    let bad = test.host.plugins()[0].version.clone();
    feed(&test, 301..601).await;
    let failed_probation = failed_probation(&rollout).await;
    assert_eq!(failed_probation.version, bad);
    assert!(
        failed_probation.reason.contains("`health.max-failure-rate` allows 1.0 % more"),
        "{}",
        failed_probation.reason
    );
    assert!((1..=8).contains(&failed_probation.events.len()), "{:?}", failed_probation.events);
    for event in &failed_probation.events {
        let id = event.strip_prefix("events ").unwrap();
        let entries = test.store.range("events", id.parse().unwrap(), id.parse().unwrap(), 1, false).await.unwrap();
        let n: u64 = sandbar_tests::host::text(&entries[0], "n").parse().unwrap();
        assert!(n.is_multiple_of(20), "{n} is not one that traps");
    }
    // The one before is back, and is not judged; what became of the other is kept.
    poll_until(PATIENCE, "the version before is back", async || test.host.plugins()[0].version != bad).await;
    assert_eq!(rollout.probation(), None);
    poll_until(PATIENCE, "it is in the history", async || test.host.plugins()[0].history.len() == 2).await;
    let past = &test.host.plugins()[0].history[0];
    assert_eq!(past.release.digest, bad);
    let EndReason::FailedProbation { host, reason, events } = &past.why else { panic!("{past:?}") };
    assert_eq!((host.as_str(), reason, events), (test.host.id(), &failed_probation.reason, &failed_probation.events));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_counts_once_however_often_it_is_tried() {
    let trigger = TRIGGER.replace("max-attempts = 2", "max-attempts = 5");
    let (test, rollout) = host(&trigger).await;
    test.host.load_bytes(parsed(&differing("trap", 100, &trigger, "")), version(1)).await.unwrap();
    feed(&test, 301..801).await;
    test.settled(800).await;
    poll_until(PATIENCE, "all are counted", async || rollout.probation().unwrap().events >= 500).await;
    let standing = rollout.probation().unwrap();
    assert_eq!((standing.events, standing.failed), (500, 5), "one in a hundred is as many as the limit allows");
    assert_eq!(test.dead().await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_and_retries_count_and_a_slow_version_fails_probation() {
    let trigger = "batch = 1\nmax-attempts = 2\nretry-min = \"10ms\"\nretry-max = \"20ms\"";
    for (differs, every) in [("reject", 10), ("retry", 10), ("slow", 20)] {
        let (test, rollout) = host(trigger).await;
        test.host.load_bytes(parsed(&differing(differs, every, trigger, "")), version(1)).await.unwrap();
        feed(&test, 301..501).await;
        let failed_probation = failed_probation(&rollout).await;
        let limit = if differs == "slow" { "health.max-latency-ratio" } else { "health.max-failure-rate" };
        assert!(failed_probation.reason.contains(limit), "{differs}: {}", failed_probation.reason);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_as_good_ends_its_probation() {
    let (test, rollout) = host(TRIGGER).await;
    let short = plain(TRIGGER, "[health]\nprobation = \"2s\"");
    test.host.load_bytes(parsed(&short), version(1)).await.unwrap();
    // One that fails in one of 200, which the limit allows.
    feed(&test, 301..801).await;
    test.settled(800).await;
    let standing = rollout.probation().unwrap();
    assert_eq!((standing.events, standing.failed, standing.failure_rate_before), (500, 0, 0.0));
    poll_until(PATIENCE, "its probation ends", async || rollout.probation().is_none()).await;
    assert_eq!(rollout.last_failed_probation(), None);
    // Afterwards no health check judges it; its dead letters are there to be read.
    test.host.load_bytes(parsed(&plain(TRIGGER, "[health]\nprobation = \"0s\"")), version(2)).await.unwrap();
    assert_eq!(rollout.probation(), None, "the plugin wants no probation");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_gets_its_share_and_fails_alone() {
    let (test, rollout) = host(TRIGGER).await;
    let tenant = test.host.first().unwrap();
    tenant.begin_trial(parsed(&plain(TRIGGER, "")), version(1), Trial::Canary { percent: 25 }).await.unwrap();
    let active = test.host.plugins()[0].version.clone();
    for n in 0..100 {
        // One batch each, so that calls are counted and not events.
        feed(&test, 301 + n..302 + n).await;
        test.settled(301 + n).await;
    }
    let (candidate, trial, standing) = rollout.trial().unwrap();
    assert_eq!(trial, Trial::Canary { percent: 25 });
    assert_eq!(standing.unwrap().events, 25, "a quarter of a hundred batches");
    assert_ne!(candidate.context().version, active);

    let half = Trial::Canary { percent: 50 };
    tenant.begin_trial(parsed(&differing("reject", 2, TRIGGER, "")), version(2), half).await.unwrap();
    let tried = rollout.trial().unwrap().0.context().version.clone();
    feed(&test, 401..1401).await;
    let failed_probation = failed_probation(&rollout).await;
    assert_eq!(failed_probation.version, tried);
    poll_until(PATIENCE, "the host ends its trial", async || rollout.trial().is_none()).await;
    assert_eq!(test.host.plugins()[0].version, active);
    test.settled(1400).await;
    // Each event was handled by one version, once; the dead letters carry the one that rejected them.
    let dead_letters = test.dead().await;
    let count: u64 = test.value("count:a").await.unwrap().parse().unwrap();
    assert_eq!(count + dead_letters.len() as u64, 1400);
    assert!(
        dead_letters
            .iter()
            .all(|dead_letter| sandbar_tests::host::text(dead_letter, "version") == failed_probation.version)
    );
    feed(&test, 1401..1501).await;
    test.settled(1500).await;
    assert_eq!(test.dead().await.len(), dead_letters.len(), "the trial is over");
}
