//! Those who wait for locks in this process.
//!
//! The server tells over one channel of this process which of them was handed which lock. While that channel is not
//! listened to nobody may stand in line in the server: he would be taken for dead.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::lock::{Claim, Holder, LockKey, LockLease};

/// Where the channels begin over which locks are handed over; the name of the process follows.
const CHANNEL_PREFIX: &str = "sandbar:wake:";

/// What the names of processes begin with whose channels begin with a tenant's prefix.
const CONFINED: &str = "@";

/// All who wait, by lock; cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::redis) struct Waiters(Arc<WaitersInner>);

#[derive(Debug)]
struct WaitersInner {
    /// Names this process in the server. Of a tenant that is confined to its prefix it begins with [`CONFINED`]: then
    /// so does the channel with the prefix.
    node: String,
    prefix: String,
    waiting: Mutex<HashMap<String, Vec<Waiting>>>,
    /// A task has waited: the channel is to be listened to.
    wanted: watch::Sender<bool>,
    /// How often the channel was begun to be listened to; 0 while it is not.
    heard: watch::Sender<HandOvers>,
}

/// Whether hand-overs are heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::redis) struct HandOvers {
    /// They are heard now.
    pub(in crate::redis) now: bool,
    /// How often that began. Who sees it change may have missed something.
    begun: u64,
}

#[derive(Debug)]
struct Waiting {
    id: String,
    handed: oneshot::Sender<LockLease>,
}

/// The place of one who waits; he leaves when it is dropped.
#[derive(Debug)]
pub(super) struct WaiterSlot {
    waiters: Waiters,
    key: String,
    id: String,
    handed: oneshot::Receiver<LockLease>,
}

impl Waiters {
    /// No task waits yet. `prefix` is that of the tenant whose locks these are, or nothing.
    pub(in crate::redis) fn new(prefix: &str) -> Self {
        let mark = if prefix.is_empty() { "" } else { CONFINED };
        Self(Arc::new(WaitersInner {
            node: format!("{mark}{:016x}", rand::random::<u64>()),
            prefix: prefix.to_owned(),
            waiting: Mutex::default(),
            wanted: watch::Sender::new(false),
            heard: watch::Sender::default(),
        }))
    }

    /// The channel over which this process receives hand-overs.
    pub(in crate::redis) fn channel(&self) -> String {
        format!("{}{CHANNEL_PREFIX}{}", self.0.prefix, self.0.node)
    }

    /// Whether both are the same.
    pub(in crate::redis) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A claim as the server keeps it.
    pub(super) fn text(&self, claim: &Claim) -> String {
        let Claim { host, plugin, id, ttl_ms, .. } = claim;
        format!("{}:{ttl_ms}:{host}:{plugin}:{id}", self.0.node)
    }

    /// Joins.
    pub(super) fn enter(&self, claim: &Claim) -> WaiterSlot {
        let (sender, handed) = oneshot::channel();
        let waiting = Waiting { id: claim.id.clone(), handed: sender };
        self.0.waiting.lock().entry(claim.lock.key.clone()).or_default().push(waiting);
        WaiterSlot { waiters: self.clone(), key: claim.lock.key.clone(), id: claim.id.clone(), handed }
    }

    /// Asks for the channel to be listened to. True where that is new.
    pub(super) fn want(&self) -> bool {
        self.0.wanted.send_if_modified(|wanted| !std::mem::replace(wanted, true))
    }

    /// Whether the channel is to be listened to.
    pub(in crate::redis) fn is_wanted(&self) -> bool {
        *self.0.wanted.borrow()
    }

    /// The channel is listened to from now on.
    pub(in crate::redis) fn begin(&self) {
        self.0.heard.send_modify(|heard| *heard = HandOvers { now: true, begun: heard.begun.wrapping_add(1) });
    }

    /// The channel is no longer listened to.
    pub(in crate::redis) fn end(&self) {
        self.0.heard.send_modify(|heard| heard.now = false);
    }

    /// Follows whether hand-overs are heard.
    pub(super) fn heard(&self) -> watch::Receiver<HandOvers> {
        self.0.heard.subscribe()
    }

    /// Hands a lock over to the one whom the server means. Answers the lock where nobody waits for it any more.
    pub(super) fn hand(&self, lease: LockLease) -> Option<LockLease> {
        let id = Holder::parse(&lease.value).map(|holder| holder.id);
        let found = {
            let mut waiting = self.0.waiting.lock();
            waiting.get_mut(&lease.lock.key).and_then(|waiters| {
                let at = waiters.iter().position(|waiting| Some(&waiting.id) == id.as_ref())?;
                Some(waiters.remove(at))
            })
        };
        match found {
            Some(waiting) => waiting.handed.send(lease).err(),
            None => Some(lease),
        }
    }
}

impl WaiterSlot {
    /// Waits for the lock. Cancel-safe.
    pub(super) async fn handed(&mut self) -> Option<LockLease> {
        (&mut self.handed).await.ok()
    }

    /// The lock, where it was handed over already.
    pub(super) fn take(&mut self) -> Option<LockLease> {
        self.handed.try_recv().ok()
    }

    /// Whether nobody in this process has waited longer for this lock: then it is his turn to look after it.
    pub(super) fn is_first(&self) -> bool {
        let waiting = self.waiters.0.waiting.lock();
        waiting.get(&self.key).and_then(|waiters| waiters.first()).is_some_and(|first| first.id == self.id)
    }
}

impl Drop for WaiterSlot {
    fn drop(&mut self) {
        let mut waiting = self.waiters.0.waiting.lock();
        if let Some(waiters) = waiting.get_mut(&self.key) {
            waiters.retain(|waiting| waiting.id != self.id);
            if waiters.is_empty() {
                waiting.remove(&self.key);
            }
        }
    }
}

/// What the server tells of a lock that it has handed over: its value and its keys, a line each.
pub(super) fn parse(message: &[u8]) -> Option<LockLease> {
    let mut lines = std::str::from_utf8(message).ok()?.split('\n');
    let mut next = || lines.next();
    let (value, key, token_key, waiters_key) = (next()?, next()?, next()?, next()?);
    let lock = LockKey { key: key.to_owned(), token_key: token_key.to_owned(), waiters_key: waiters_key.to_owned() };
    lease(lock, value.to_owned().into(), tokio::time::Instant::now())
}

/// A lock that is held under a value.
pub(super) fn lease(lock: LockKey, value: bytes::Bytes, begun: tokio::time::Instant) -> Option<LockLease> {
    let token = Holder::parse(&value)?.token;
    Some(LockLease { lock, value, token, begun })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Claim {
        Claim::new(LockKey::new("", "a"), "h", "p", 100)
    }

    fn message(claim: &Claim) -> LockLease {
        let text = format!("7:h:p:1:{}\na\nsandbar:lock:a:token\nsandbar:lock:a:waiters", claim.id);
        parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_lock_goes_to_the_one_who_is_meant() {
        let waiters = Waiters::new("");
        let (first, second, gone) = (claim(), claim(), claim());
        let (mut one, mut two) = (waiters.enter(&first), waiters.enter(&second));
        assert!(one.is_first() && !two.is_first());
        assert_eq!(waiters.hand(message(&second)), None);
        assert_eq!((one.take(), two.take().map(|lease| lease.token)), (None, Some(7)));
        drop(one);
        assert!(waiters.hand(message(&first)).is_some() && waiters.hand(message(&gone)).is_some());
        drop(two);
        assert!(waiters.0.waiting.lock().is_empty());
    }
}
