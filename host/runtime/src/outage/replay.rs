//! Replays the journal once the store answers again.
//!
//! Each commit also sets a key of this host to the number of the last entry that it holds, and watches that key. So
//! after a lost reply the key says which commits were made, and a commit that is still on its way when it is sent
//! again cannot be made a second time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::Shared;
use super::journal::Entry;
use sandbar_store::embedded::Embedded;
use sandbar_store::{Commit, CommitError, Condition, Effect, Expiry, StoreError};

/// How often it is looked whether the store answers again.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// The most entries that are replayed in one commit.
const ENTRIES_MAX: usize = 200;
/// The most bytes of entries that are replayed in one commit.
const BYTES_MAX: usize = 4 << 20;
/// How long the store keeps how much of a journal it has; a host that is gone does not ask again.
const KEY_TTL_MS: u64 = 7 * 24 * 3600 * 1000;

/// Waits for outages and ends them.
pub(super) async fn run(shared: Arc<Shared>, key: String) {
    loop {
        shared.begun.notified().await;
        while shared.degraded.load(Ordering::Acquire) {
            tokio::time::sleep(LOOK_INTERVAL).await;
            if shared.primary.is_available()
                && let Err(error) = drain(&shared, &key).await
            {
                tracing::debug!(%error, "the replay of the journal waits");
            }
        }
    }
}

/// Replays until the journal is empty, and ends the outage.
async fn drain(shared: &Shared, key: &str) -> Result<(), StoreError> {
    loop {
        let number = known(shared, key).await?;
        let (head, replayed) = {
            let mut journal = shared.journal.lock().await;
            journal.replayed_to(number.unwrap_or(0));
            shared.tell(&journal);
            if journal.len() == 0 {
                shared.fallback.store(Arc::new(Embedded::new()));
                shared.degraded.store(false, Ordering::Release);
                shared.metrics.degraded(false);
                tracing::info!(replayed = journal.replayed(), "the store is back, and the journal was replayed");
                return Ok(());
            }
            (journal.head(ENTRIES_MAX, BYTES_MAX), journal.replayed())
        };
        replay(shared, key, &head, replayed).await?;
    }
}

/// The number of the last entry that the store has; none where it has none.
async fn known(shared: &Shared, key: &str) -> Result<Option<u64>, StoreError> {
    let value = shared.primary.get(key).await?;
    Ok(value.and_then(|value| std::str::from_utf8(&value).ok()?.parse().ok()))
}

/// Replays entries in one commit; where it cannot be made as a whole, the first alone.
async fn replay(shared: &Shared, key: &str, entries: &[Arc<Entry>], replayed: u64) -> Result<(), StoreError> {
    let before = (replayed > 0).then(|| Bytes::from(replayed.to_string()));
    let mut watched = vec![(key.to_owned(), before)];
    watched.extend(entries.iter().flat_map(|entry| entry.watched.iter().cloned()));
    let fence = watched.get(..1).unwrap_or_default().to_vec();
    let answer = commit(shared, key, entries, replayed, &watched).await;
    match answer {
        Err(CommitError::Conflict(changed)) if changed != key => {
            // Its caller has the answer that it was made, so it is made: the later write wins.
            shared.metrics.conflict();
            tracing::warn!(
                key = changed,
                "a key that a journaled commit watched was changed meanwhile by another client"
            );
            settle(commit(shared, key, entries, replayed, &fence).await)
        }
        Err(CommitError::Unacceptable(error)) => match entries {
            [] => Ok(()),
            [_] => {
                shared.metrics.conflict();
                tracing::error!(%error, "the store does not accept a journaled commit: it is skipped");
                settle(commit(shared, key, &[], replayed + 1, &fence).await)
            }
            [first, ..] => Box::pin(replay(shared, key, std::slice::from_ref(first), replayed)).await,
        },
        answer => settle(answer),
    }
}

/// Makes one commit of entries and of the number that the last of them has.
async fn commit(
    shared: &Shared,
    key: &str,
    entries: &[Arc<Entry>],
    replayed: u64,
    watched: &[(String, Option<Bytes>)],
) -> Result<(), CommitError> {
    let number = replayed.saturating_add(u64::try_from(entries.len()).unwrap_or(u64::MAX));
    let mut effects: Vec<Effect> = entries.iter().flat_map(|entry| entry.effects.iter().cloned()).collect();
    effects.push(Effect::Set {
        key: key.to_owned(),
        value: Bytes::from(number.to_string()),
        expiry: Expiry::TtlMs(KEY_TTL_MS),
        condition: Condition::Always,
    });
    let committed = shared.primary.commit(Commit::plain(&effects, watched)).await?;
    shared.metrics.replayed(entries.len());
    for refusal in committed.refused {
        shared.metrics.conflict();
        let name = effects.get(refusal.effect).map_or("a write", Effect::name);
        tracing::warn!(error = refusal.error, "the store refused {name} of a journaled commit");
    }
    Ok(())
}

/// What is left to do after a commit: nothing, or to look at the key again later.
fn settle(answer: Result<(), CommitError>) -> Result<(), StoreError> {
    match answer {
        Ok(()) => Ok(()),
        // The key was set: a commit of ours that was still on its way. What it holds is read next.
        Err(CommitError::Conflict(_) | CommitError::Fenced) => Ok(()),
        Err(CommitError::Refused(error) | CommitError::Unacceptable(error) | CommitError::Unknown(error)) => Err(error),
    }
}
