//! One look at the store, and one load, per key and process: later callers wait for the one that is under way.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::policy::{Policy, Use};
use super::{FetchError, Tier};
use sandbar_store::{Stale, StoreError, TRUST};

/// The most keys that are looked at or loaded at the same time.
pub const IN_FLIGHT_LOADS_MAX: usize = 10_000;

/// How far a load has come.
#[derive(Debug, Clone)]
pub(super) enum Progress {
    /// The store is asked.
    Looking,
    /// The value is loaded, here or elsewhere; what is over may be answered meanwhile.
    Loading(Option<Over>),
    /// It has ended.
    LoadEnd(LoadEnd),
}

/// A value that was over when it was read.
#[derive(Debug, Clone)]
pub(super) struct Over {
    stale: Stale,
    read_at: Instant,
}

/// How a load ended.
#[derive(Debug, Clone)]
pub(super) enum LoadEnd {
    /// With a value.
    Value(Bytes, Tier),
    /// The source has nothing.
    Missing(Tier),
    /// The source failed.
    Failed(String, Option<Over>),
    /// The store failed.
    Store(StoreError),
}

/// All loads of a process.
#[derive(Debug, Default)]
pub(super) struct InFlightLoads {
    by_key: Mutex<HashMap<Arc<str>, Vec<InFlightLoad>>>,
    /// How many keys have loads, so that the lock is not taken in vain.
    keys: AtomicUsize,
    /// The number of the newest load.
    newest: AtomicUsize,
}

#[derive(Debug)]
struct InFlightLoad {
    number: usize,
    begun: Instant,
    loader: Option<String>,
    progress: watch::Receiver<Progress>,
}

/// Takes its load off the list when it is dropped.
#[derive(Debug)]
pub(super) struct LoadTicket {
    in_flight: Arc<InFlightLoads>,
    key: Arc<str>,
    number: usize,
}

impl Over {
    pub(super) fn new(stale: Stale) -> Self {
        Self { stale, read_at: Instant::now() }
    }

    /// What it is good for by now.
    fn usable(&self, policy: &Policy) -> Use {
        let since = u64::try_from(self.read_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        policy.stale_use(self.stale.age_ms.saturating_add(since))
    }

    /// The value, where it may be answered in place of a source that fails.
    fn in_need(&self, policy: &Policy) -> Option<Bytes> {
        (self.usable(policy) != Use::Nothing).then(|| self.stale.value.clone())
    }
}

impl Progress {
    /// What is answered now; none where it is to be waited for.
    pub(super) fn answer(&self, policy: &Policy) -> Option<Result<(Option<Bytes>, Tier), FetchError>> {
        match self {
            Self::Looking => None,
            Self::Loading(over) => {
                let over = over.as_ref().filter(|over| over.usable(policy) == Use::WhileLoading)?;
                Some(Ok((Some(over.stale.value.clone()), Tier::Stale)))
            }
            Self::LoadEnd(LoadEnd::Value(value, tier)) => Some(Ok((Some(value.clone()), *tier))),
            Self::LoadEnd(LoadEnd::Missing(tier)) => Some(Ok((None, *tier))),
            Self::LoadEnd(LoadEnd::Failed(reason, over)) => {
                let stale = over.as_ref().and_then(|over| over.in_need(policy));
                Some(match stale {
                    Some(value) => Ok((Some(value), Tier::Stale)),
                    None => Err(FetchError::Failed(reason.clone())),
                })
            }
            Self::LoadEnd(LoadEnd::Store(error)) => Some(Err(FetchError::Store(error.clone()))),
        }
    }

    /// What is answered when there is no more time to wait.
    pub(super) fn answer_late(&self, policy: &Policy) -> Option<(Option<Bytes>, Tier)> {
        let Self::Loading(Some(over)) = self else { return None };
        over.in_need(policy).map(|value| (Some(value), Tier::Stale))
    }
}

impl InFlightLoad {
    /// What is being read may be too old for a caller that comes much later.
    fn may_be_joined(&self) -> bool {
        self.begun.elapsed() < TRUST || !matches!(*self.progress.borrow(), Progress::Looking)
    }
}

impl InFlightLoads {
    /// The load of a key with this loader, and, where it is a new one, what is needed to run it. None where there are
    /// too many.
    #[expect(clippy::type_complexity, reason = "the two halves of a flight, as they come")]
    pub(super) fn join(
        self: &Arc<Self>,
        key: &Arc<str>,
        loader: Option<&str>,
    ) -> Option<(watch::Receiver<Progress>, Option<(watch::Sender<Progress>, LoadTicket)>)> {
        let mut by_key = self.by_key.lock();
        let joins = |load: &&InFlightLoad| load.loader.as_deref() == loader && load.may_be_joined();
        let known = by_key.get(key).into_iter().flatten().find(joins);
        if let Some(load) = known {
            return Some((load.progress.clone(), None));
        }
        if by_key.len() >= IN_FLIGHT_LOADS_MAX {
            return None;
        }
        let number = self.newest.fetch_add(1, Ordering::Relaxed);
        let (sender, progress) = watch::channel(Progress::Looking);
        let load = InFlightLoad {
            number,
            begun: Instant::now(),
            loader: loader.map(str::to_owned),
            progress: progress.clone(),
        };
        by_key.entry(key.clone()).or_default().push(load);
        self.keys.store(by_key.len(), Ordering::SeqCst);
        Some((progress, Some((sender, LoadTicket { in_flight: self.clone(), key: key.clone(), number }))))
    }

    /// Lets no other caller join the loads of a key: what they have read may be old.
    pub(super) fn detach(&self, key: &str) {
        if self.keys.load(Ordering::SeqCst) > 0 {
            let mut by_key = self.by_key.lock();
            by_key.remove(key);
            self.keys.store(by_key.len(), Ordering::SeqCst);
        }
    }

    /// The same for all keys.
    pub(super) fn detach_all(&self) {
        let mut by_key = self.by_key.lock();
        by_key.clear();
        self.keys.store(0, Ordering::SeqCst);
    }
}

impl Drop for LoadTicket {
    fn drop(&mut self) {
        let mut by_key = self.in_flight.by_key.lock();
        if let Some(in_flight) = by_key.get_mut(&self.key) {
            in_flight.retain(|load| load.number != self.number);
            if in_flight.is_empty() {
                by_key.remove(&self.key);
            }
        }
        self.in_flight.keys.store(by_key.len(), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(age_ms: u64) -> Over {
        Over::new(Stale { value: Bytes::from_static(b"old"), age_ms })
    }

    fn policy(while_loading: u64, on_error: u64) -> Policy {
        Policy { stale_while_revalidate_ms: while_loading, stale_on_error_ms: on_error, ..Policy::new(1) }
    }

    #[test]
    fn callers_join_and_a_dropped_flight_leaves_nothing() {
        let in_flight = Arc::new(InFlightLoads::default());
        let key: Arc<str> = Arc::from("k");
        let (_, first) = in_flight.join(&key, Some("l")).unwrap();
        let (mut progress, second) = in_flight.join(&key, Some("l")).unwrap();
        assert!(first.is_some() && second.is_none());
        assert!(in_flight.join(&key, None).unwrap().1.is_some(), "another loader is another flight");
        drop(first);
        assert!(progress.has_changed().is_err(), "waiters are woken");
        assert!(matches!(*progress.borrow_and_update(), Progress::Looking));
        assert!(in_flight.join(&key, Some("l")).unwrap().1.is_some());
    }

    #[test]
    fn nobody_joins_what_was_detached() {
        let in_flight = Arc::new(InFlightLoads::default());
        let key: Arc<str> = Arc::from("k");
        let (_, old) = in_flight.join(&key, None).unwrap();
        in_flight.detach("k");
        let (_, new) = in_flight.join(&key, None).unwrap();
        assert!(new.is_some());
        drop(old);
        assert!(in_flight.join(&key, None).unwrap().1.is_none(), "the end of the old one leaves the new one alone");
    }

    #[test]
    fn what_is_over_is_answered_as_the_policy_says() {
        let stale = |answer: Option<Result<(Option<Bytes>, Tier), FetchError>>| {
            matches!(answer, Some(Ok((Some(_), Tier::Stale))))
        };
        let loading = Progress::Loading(Some(over(100)));
        let failed = Progress::LoadEnd(LoadEnd::Failed("no".to_owned(), Some(over(100))));
        assert!(stale(loading.answer(&policy(10_000, 0))) && loading.answer(&policy(0, 10_000)).is_none());
        assert!(loading.answer_late(&policy(0, 10_000)).is_some() && loading.answer_late(&policy(0, 50)).is_none());
        assert!(stale(failed.answer(&policy(10_000, 0))) && stale(failed.answer(&policy(0, 10_000))));
        assert!(matches!(failed.answer(&policy(50, 50)), Some(Err(FetchError::Failed(_)))));
        assert!(Progress::Looking.answer(&policy(10_000, 10_000)).is_none());
    }
}
