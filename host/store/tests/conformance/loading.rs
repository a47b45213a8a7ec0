//! Values that are loaded: grants, what is remembered, what is over, what is announced.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sandbar_store::{
    Condition, Expiry, Fill, Filled, Kept, Listener, LoadClaim, LoadClaimed, LoadSlot, Remaining, Stale,
};
use sandbar_test_harness::poll_until;

use super::build::*;
use super::fixture::{SOON, assert_wrong_type};
use super::{Fixture, conformance};

conformance! {
    a_load_is_granted_to_one,
    a_grant_that_is_over_goes_to_another,
    a_grant_is_kept_by_renewing_it,
    a_deletion_takes_the_grant_away,
    what_was_set_meanwhile_stays,
    that_there_is_nothing_is_remembered,
    a_failure_reaches_the_waiters,
    a_value_that_is_over_is_stale,
    a_value_that_was_deleted_is_not_stale,
    copies_follow_what_others_set,
    other_kinds_are_not_loaded,
    a_value_that_never_expires_has_no_copy,
    changes_are_told,
}

const LONG: u64 = 50_000;

fn slot(t: &Fixture) -> LoadSlot {
    LoadSlot::new(t.prefix(), "loaded")
}

async fn claim(t: &Fixture, token: &str, waited: &str) -> LoadClaimed {
    claim_for(t, token, waited, LONG).await
}

async fn claim_for(t: &Fixture, token: &str, waited: &str, lease_ms: u64) -> LoadClaimed {
    t.store.claim(&slot(t), LoadClaim { token, lease_ms, waited, wants_stale: true }).await.expect("a claim")
}

async fn fill(t: &Fixture, token: &str, value: &str, ttl_ms: u64, stale_ms: u64) -> Filled {
    let fill = Fill::Value { value: &bytes(value), ttl_ms, stale_ms };
    t.store.fill(&slot(t), token, fill).await.expect("a fill")
}

async fn over(t: &Fixture) {
    poll_until(SOON, "the value is over", async || t.store.kept(&slot(t), 0).await.unwrap().is_none()).await;
}

fn granted() -> LoadClaimed {
    LoadClaimed::Granted { stale: None }
}

fn stale_of(claimed: &LoadClaimed) -> Option<&Stale> {
    match claimed {
        LoadClaimed::Granted { stale } | LoadClaimed::Busy { stale, .. } | LoadClaimed::Failed { stale, .. } => {
            stale.as_ref()
        }
        LoadClaimed::Value(_) | LoadClaimed::Missing(_) => None,
    }
}

async fn a_load_is_granted_to_one(t: &Fixture) {
    assert_eq!(t.store.kept(&slot(t), 0).await, Ok(None));
    assert_eq!(claim(t, "a", "").await, granted());
    assert_eq!(claim(t, "b", "").await, LoadClaimed::Busy { token: "a".to_owned(), stale: None });
    assert_eq!(claim(t, "a", "").await, granted(), "the same once more: the answer may have been lost");
    assert_eq!(fill(t, "b", "theirs", LONG, 0).await, Filled::Revoked, "it was not granted");
    assert_eq!(fill(t, "a", "value", LONG, 0).await, Filled::Kept);
    assert_eq!(t.store.get(&slot(t).key).await, Ok(Some(bytes("value"))), "anybody reads it as usual");
    assert_eq!(t.store.ttl(&slot(t).note).await, Ok(Remaining::Missing), "nothing else is left");
    let is_it = |kept: &Kept| kept.value == bytes("value") && matches!(kept.remaining, Remaining::Ms(40_000..=LONG));
    assert!(is_it(&t.store.kept(&slot(t), 0).await.unwrap().unwrap()));
    assert!(matches!(claim(t, "b", "a").await, LoadClaimed::Value(kept) if is_it(&kept)));
    assert_eq!(fill(t, "a", "again", LONG, 0).await, Filled::Revoked, "a grant is good for one fill");
}

async fn a_grant_that_is_over_goes_to_another(t: &Fixture) {
    assert_eq!(claim_for(t, "a", "", 30).await, granted());
    poll_until(SOON, "the grant is over", async || claim(t, "b", "a").await == granted()).await;
    assert_eq!(t.store.renew_load(&slot(t), "a", LONG).await, Ok(false));
    assert_eq!(fill(t, "a", "late", LONG, 0).await, Filled::Revoked);
    assert_eq!(fill(t, "b", "value", LONG, 0).await, Filled::Kept);
    assert_eq!(t.store.get(&slot(t).key).await, Ok(Some(bytes("value"))));
}

async fn a_grant_is_kept_by_renewing_it(t: &Fixture) {
    assert_eq!(claim_for(t, "a", "", 1_000).await, granted());
    assert_eq!(t.store.renew_load(&slot(t), "a", LONG).await, Ok(true));
    assert_eq!(t.store.renew_load(&slot(t), "b", LONG).await, Ok(false));
    assert!(matches!(t.store.ttl(&slot(t).note).await, Ok(Remaining::Ms(40_000..))));
    // Longer than the first grant.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert!(matches!(claim(t, "b", "").await, LoadClaimed::Busy { .. }));
}

async fn a_deletion_takes_the_grant_away(t: &Fixture) {
    assert_eq!(claim(t, "a", "").await, granted());
    t.write(&[delete(&slot(t).key), delete(&slot(t).note)]).await;
    assert_eq!(t.store.renew_load(&slot(t), "a", LONG).await, Ok(false));
    assert_eq!(fill(t, "a", "old", LONG, LONG).await, Filled::Revoked);
    assert_eq!(t.store.get(&slot(t).key).await, Ok(None));
    assert_eq!(claim(t, "a", "").await, granted());
    assert_eq!(fill(t, "a", "new", LONG, LONG).await, Filled::Kept);
}

async fn what_was_set_meanwhile_stays(t: &Fixture) {
    assert_eq!(claim(t, "a", "").await, granted());
    t.write(&[set(&slot(t).key, "newer")]).await;
    let newer = Kept { value: bytes("newer"), remaining: Remaining::Never };
    assert_eq!(fill(t, "a", "older", LONG, LONG).await, Filled::Overtaken(newer));
    assert_eq!(t.store.get(&slot(t).key).await, Ok(Some(bytes("newer"))));
    t.write(&[delete(&slot(t).key)]).await;
    assert_eq!(claim(t, "b", "").await, granted(), "the grant is not left over");
}

async fn that_there_is_nothing_is_remembered(t: &Fixture) {
    assert_eq!(claim(t, "a", "").await, granted());
    assert_eq!(t.store.fill(&slot(t), "a", Fill::Missing { ttl_ms: LONG }).await, Ok(Filled::Kept));
    assert!(matches!(claim(t, "b", "").await, LoadClaimed::Missing(40_000..=LONG)));
    t.write(&[delete(&slot(t).note)]).await;
    assert_eq!(claim(t, "c", "").await, granted(), "it is forgotten with the note");
    assert_eq!(t.store.fill(&slot(t), "c", Fill::Missing { ttl_ms: 0 }).await, Ok(Filled::Kept));
    assert_eq!(claim(t, "d", "c").await, LoadClaimed::Missing(0), "waiters get the answer");
    assert_eq!(claim(t, "d", "").await, granted(), "nobody else is");
    t.write(&[set(&slot(t).key, "now")]).await;
    assert!(matches!(claim(t, "e", "c").await, LoadClaimed::Value(_)), "a value goes before what is remembered");
}

async fn a_failure_reaches_the_waiters(t: &Fixture) {
    assert_eq!(claim(t, "a", "").await, granted());
    assert_eq!(t.store.fail(&slot(t), "b", "not mine").await, Ok(()));
    assert!(matches!(claim(t, "b", "").await, LoadClaimed::Busy { .. }), "another's grant is left alone");
    assert_eq!(t.store.fail(&slot(t), "a", "the source is away").await, Ok(()));
    let failed = LoadClaimed::Failed { reason: "the source is away".to_owned(), stale: None };
    assert_eq!(claim(t, "b", "a").await, failed);
    assert_eq!(claim(t, "b", "").await, granted(), "a new caller may try again");
    assert_eq!(t.store.fail(&slot(t), "b", "").await, Ok(()));
    assert!(matches!(claim(t, "c", "b").await, LoadClaimed::Failed { .. }), "a failure without a reason is one");
}

async fn a_value_that_is_over_is_stale(t: &Fixture) {
    assert_eq!(claim(t, "a", "").await, granted());
    assert_eq!(fill(t, "a", "old", 30, LONG).await, Filled::Kept);
    over(t).await;
    assert_eq!(t.store.get(&slot(t).key).await, Ok(None), "nobody else sees it");
    let claimed = claim(t, "b", "").await;
    let stale = stale_of(&claimed).expect("a stale value");
    assert!(stale.value == bytes("old") && stale.age_ms < 5_000, "{stale:?}");
    let busy = claim(t, "c", "").await;
    assert!(matches!(busy, LoadClaimed::Busy { .. }) && stale_of(&busy).is_some());
    assert_eq!(t.store.fail(&slot(t), "b", "away").await, Ok(()));
    let failed = claim(t, "c", "").await;
    assert!(
        matches!(&failed, LoadClaimed::Failed { reason, .. } if reason == "away"),
        "nobody asks again so soon: {failed:?}"
    );
    assert!(stale_of(&failed).is_some());
    let mut age_ms = 0;
    poll_until(SOON, "the source may be asked again", async || match claim(t, "c", "").await {
        LoadClaimed::Granted { stale } => {
            age_ms = stale.expect("a stale value").age_ms;
            true
        }
        _ => false,
    })
    .await;
    assert!(age_ms >= 900, "after {age_ms} ms");
    let without = LoadClaim { token: "c", lease_ms: LONG, waited: "", wants_stale: false };
    assert_eq!(t.store.claim(&slot(t), without).await, Ok(granted()), "not where it is not wanted");
    assert_eq!(fill(t, "c", "new", LONG, 0).await, Filled::Kept);
    assert_eq!(t.store.ttl(&slot(t).note).await, Ok(Remaining::Missing), "the old copy is gone");
}

async fn a_value_that_was_deleted_is_not_stale(t: &Fixture) {
    assert_eq!(claim(t, "a", "").await, granted());
    assert_eq!(fill(t, "a", "value", LONG, LONG).await, Filled::Kept);
    t.write(&[delete(&slot(t).key)]).await;
    assert_eq!(claim(t, "b", "").await, granted());
}

async fn copies_follow_what_others_set(t: &Fixture) {
    assert_eq!(claim(t, "a", "").await, granted());
    assert_eq!(fill(t, "a", "loaded", LONG, LONG).await, Filled::Kept);
    let theirs = set_with(&slot(t).key, "theirs", Expiry::TtlMs(200), Condition::Always);
    t.write(&[theirs]).await;
    let kept = t.store.kept(&slot(t), LONG).await.unwrap().unwrap();
    assert_eq!(kept.value, bytes("theirs"));
    over(t).await;
    let claimed = claim(t, "b", "").await;
    assert_eq!(stale_of(&claimed).map(|stale| stale.value.clone()), Some(bytes("theirs")));
}

async fn other_kinds_are_not_loaded(t: &Fixture) {
    t.write(&[hash_set(&slot(t).key, &[("a", "1")])]).await;
    assert_wrong_type(t.store.kept(&slot(t), LONG).await, &slot(t).key);
    let claim = LoadClaim { token: "a", lease_ms: LONG, waited: "", wants_stale: true };
    assert_wrong_type(t.store.claim(&slot(t), claim).await, &slot(t).key);
}

async fn a_value_that_never_expires_has_no_copy(t: &Fixture) {
    t.write(&[set(&slot(t).key, "for ever")]).await;
    let kept = t.store.kept(&slot(t), LONG).await.unwrap().unwrap();
    assert_eq!(kept, Kept { value: bytes("for ever"), remaining: Remaining::Never });
    assert_eq!(t.store.ttl(&slot(t).note).await, Ok(Remaining::Missing));
}

/// Notes what it hears.
#[derive(Debug, Default)]
struct Notes(Mutex<Vec<String>>);

impl Listener for Notes {
    fn changed(&self, key: &str) {
        self.0.lock().unwrap().push(key.to_owned());
    }

    fn lost(&self) {
        self.0.lock().unwrap().push("lost".to_owned());
    }
}

impl Notes {
    /// Whether it heard of a key; forgets everything.
    fn told(&self, key: &str) -> bool {
        std::mem::take(&mut *self.0.lock().unwrap()).iter().any(|told| told == key)
    }
}

async fn changes_are_told(t: &Fixture) {
    let notes = Arc::new(Notes::default());
    t.store.changes().listen("", &notes);
    t.store.follow(t.prefix());
    let key = t.key("k");
    poll_until(SOON, "changes are heard", async || t.store.changes().hears(&key)).await;
    assert!(t.store.changes().is_trusted(std::time::Instant::now()));
    notes.told("");
    // One's own writes are announced before their answer.
    t.write(&[set(&key, "1")]).await;
    assert!(notes.told(&key), "a commit");
    t.store.increment(&key, 1).await.unwrap();
    assert!(notes.told(&key), "an increment");
    assert_eq!(claim(t, "a", "").await, granted());
    assert_eq!(fill(t, "a", "value", LONG, 0).await, Filled::Kept);
    assert!(notes.told(&slot(t).key), "a fill");
    let Some(server) = t.as_redis() else { return };
    poll_until(SOON, "the server has told all of that", async || {
        tokio::time::sleep(Duration::from_millis(20)).await;
        !notes.told(&slot(t).key)
    })
    .await;
    for words in
        [["SET", &key, "2"], ["APPEND", &key, "2"], ["PEXPIRE", &key, "30000"], ["RENAME", &key, &t.key("other")]]
    {
        server.ask(&words);
        poll_until(SOON, words[0], async || notes.told(&key)).await;
    }
    server.ask(&["SET", &key, "3", "PX", "10"]);
    poll_until(SOON, "it is set", async || notes.told(&key)).await;
    poll_until(SOON, "it has expired", async || notes.told(&key)).await;
}
