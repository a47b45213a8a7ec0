//! The locks that a call holds, and which of its writes rely on them.
//!
//! A guard that is given back while writes wait that were made under it is kept until those are committed: else the
//! commit could not be made under the lock. Such a lock can be taken again by the same call at once.

use bytes::Bytes;

use sandbar_store::held_lock::HeldLock;

/// What a plugin has of a lock. The lock itself belongs to the call: a guard that is kept beyond it guards nothing.
#[derive(Debug)]
pub struct Guard {
    /// Unique within its instance.
    pub(crate) number: u64,
    /// The key of its lock.
    pub(crate) key: String,
    /// The fencing number of its lock.
    pub(crate) token: u64,
}

/// The most locks that a call holds at a time.
pub const GUARDS_MAX: usize = 16;
/// The most locks of a call together with those that it gave back, but that wait for its commit.
pub const LOCKS_MAX: usize = 128;

/// The locks of a call.
#[derive(Debug, Default)]
pub struct Locks(Vec<Guarded>);

#[derive(Debug)]
struct Guarded {
    lock: HeldLock,
    /// The guard that the plugin has for it; none once it gave it back.
    guard: Option<u64>,
    /// How many writes waited when it was taken: those behind them rely on it.
    writes_before: usize,
}

/// Why a lock is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untakable {
    /// The call holds it already.
    #[error("this call holds `{0}` already")]
    Held(String),
    /// The call gave it back, but it was lost before the commit.
    #[error("`{0}` was lost before what was written under it was committed")]
    Lost(String),
    /// The call has too many guards.
    #[error("the call holds {GUARDS_MAX} locks, which is all that it may")]
    Guards,
    /// Too many locks wait for the commit.
    #[error(
        "{LOCKS_MAX} locks of the call wait for its commit, which is all that may: `transaction.commit` sets them free"
    )]
    Waiting,
}

/// What becomes of a lock whose guard is given back.
#[derive(Debug)]
pub enum GivenBack {
    /// There is no such guard: it was given back before, or its call has ended.
    Never,
    /// Writes rely on it: it is given back after their commit. Whether it is known to be lost.
    AfterCommit(bool),
    /// Now.
    Now(HeldLock),
}

impl Locks {
    /// Prepares to take a lock. True where the call still has it: it is held again, by the guard of this number.
    pub fn take_again(&mut self, key: &str, guard: u64) -> Result<bool, Untakable> {
        let all = self.0.len();
        let guards = self.0.iter().filter(|held| held.guard.is_some()).count();
        let known = self.0.iter_mut().find(|held| held.lock.lock().key == key);
        match known {
            Some(held) if held.guard.is_some() => Err(Untakable::Held(key.to_owned())),
            _ if guards >= GUARDS_MAX => Err(Untakable::Guards),
            Some(held) if held.lock.is_lost() => Err(Untakable::Lost(key.to_owned())),
            Some(held) => {
                held.guard = Some(guard);
                Ok(true)
            }
            None if all >= LOCKS_MAX => Err(Untakable::Waiting),
            None => Ok(false),
        }
    }

    /// Keeps a lock for a guard. So many writes wait already.
    pub fn keep(&mut self, lock: HeldLock, guard: u64, writes: usize) {
        self.0.push(Guarded { lock, guard: Some(guard), writes_before: writes });
    }

    /// The lock of a guard.
    pub fn of_guard(&self, guard: u64) -> Option<&HeldLock> {
        self.0.iter().find(|held| held.guard == Some(guard)).map(|held| &held.lock)
    }

    /// Gives the lock of a guard back. So many writes wait.
    pub fn give_back(&mut self, guard: u64, writes: usize) -> GivenBack {
        let Some(at) = self.0.iter().position(|held| held.guard == Some(guard)) else { return GivenBack::Never };
        match self.0.get_mut(at) {
            Some(held) if writes > held.writes_before => {
                held.guard = None;
                GivenBack::AfterCommit(held.lock.is_lost())
            }
            _ => GivenBack::Now(self.0.swap_remove(at).lock),
        }
    }

    /// What the commit of so many writes relies on.
    pub fn watched(&self, writes: usize) -> impl Iterator<Item = (String, Option<Bytes>)> {
        self.0.iter().filter(move |held| writes > held.writes_before).map(|held| held.lock.watched())
    }

    /// The writes were committed, or forgotten: the locks that waited for that are to be given back.
    pub fn settled(&mut self) -> Vec<HeldLock> {
        let (kept, free): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.0).into_iter().partition(|held| held.guard.is_some());
        self.0 = kept;
        self.0.iter_mut().for_each(|held| held.writes_before = 0);
        free.into_iter().map(|held| held.lock).collect()
    }

    /// All of them: the call has ended.
    pub fn take(&mut self) -> Vec<HeldLock> {
        std::mem::take(&mut self.0).into_iter().map(|held| held.lock).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use sandbar_store::embedded::Embedded;
    use sandbar_store::{Claim, LockKey, Store};

    async fn lock(store: &Arc<dyn Store>, name: &str) -> HeldLock {
        let claim = Claim::new(LockKey::new("", name), "h", "p", 10_000);
        HeldLock::acquire(store, &claim, Duration::ZERO).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn only_writes_made_under_a_lock_rely_on_it() {
        let store: Arc<dyn Store> = Arc::new(Embedded::new());
        let mut locks = Locks::default();
        locks.keep(lock(&store, "a").await, 1, 2);
        locks.keep(lock(&store, "b").await, 2, 3);
        let keys = |locks: &Locks, writes| locks.watched(writes).map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(
            (keys(&locks, 2), keys(&locks, 3), keys(&locks, 4)),
            (vec![], vec!["a".into()], vec!["a".into(), "b".into()])
        );
        assert!(matches!(locks.give_back(2, 3), GivenBack::Now(_)));
        assert!(matches!(locks.give_back(1, 3), GivenBack::AfterCommit(false)));
        assert!(matches!(locks.give_back(1, 3), GivenBack::Never));
        assert_eq!(keys(&locks, 3), ["a"]);
        assert_eq!(locks.settled().len(), 1);
        assert_eq!(keys(&locks, 9), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_lock_that_waits_for_the_commit_is_taken_again() {
        let store: Arc<dyn Store> = Arc::new(Embedded::new());
        let mut locks = Locks::default();
        locks.keep(lock(&store, "a").await, 1, 0);
        assert_eq!(locks.take_again("a", 2), Err(Untakable::Held("a".to_owned())));
        locks.give_back(1, 1);
        assert_eq!(locks.take_again("a", 2), Ok(true));
        assert!(locks.of_guard(1).is_none() && locks.of_guard(2).is_some());
        assert_eq!(locks.take_again("b", 3), Ok(false));
    }

    #[tokio::test]
    async fn locks_are_bounded() {
        let store: Arc<dyn Store> = Arc::new(Embedded::new());
        let mut locks = Locks::default();
        for guard in 0..GUARDS_MAX as u64 {
            locks.keep(lock(&store, &guard.to_string()).await, guard, 0);
        }
        assert_eq!(locks.take_again("more", 99), Err(Untakable::Guards));
        for guard in 0..LOCKS_MAX as u64 {
            locks.give_back(guard, 1);
            if guard + 1 < (LOCKS_MAX - GUARDS_MAX) as u64 + 1 {
                let name = (guard + GUARDS_MAX as u64).to_string();
                assert_eq!(locks.take_again(&name, 0), Ok(false));
                locks.keep(lock(&store, &name).await, guard + GUARDS_MAX as u64, 0);
            }
        }
        assert_eq!(locks.take_again("more", 999), Err(Untakable::Waiting));
    }
}
