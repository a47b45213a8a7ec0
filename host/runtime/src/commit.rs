//! The one way in which the writes of a call reach the store.
//!
//! A commit waits for its turn in the tenant's quota, takes the jobs that the call has taken along, and gives the
//! locks of the call back afterwards, however it ends.
//!
//! The store may refuse single writes inside a commit, for instance because a key holds another type; the other
//! writes and the acknowledgement stand. There is one policy for that: a refused write is logged once, here, and
//! reported to the caller as a [`RefusedWrite`]. The caller turns it into a failure of its own kind: a dead letter, a
//! failed tick, an answer of 500, an error `wrong-type`, a failed load.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sandbar_store::combine::{Gathered, combine};
use sandbar_store::held_lock::{HeldLock, release_all};
use sandbar_store::{Commit, CommitError, Committed, Consumer, Effect, Epoch, LeaseSettlement, Loss, Settlement};

use crate::call::{CommitScope, Takes};
use crate::context::PluginContext;

/// The writes of a call that are committed: where one replaces another, only the last one.
pub fn effects(writes: Vec<Gathered>) -> Vec<Effect> {
    combine(writes).into_iter().map(|combined| combined.effect).collect()
}

/// What a call wants to have committed.
#[derive(Debug)]
pub struct CallCommit<'a> {
    /// The writes, combined, in order.
    pub effects: &'a [Effect],
    /// How many of the effects, the last ones, are the host's own: they do not count against the quota.
    pub own_effects: usize,
    /// Keys with the values that they must still have.
    pub watched: &'a [(String, Option<Bytes>)],
    /// Jobs that the call took; they are done with the commit.
    pub taken: &'a mut Takes,
    /// Locks to be released afterwards.
    pub locks: &'a [HeldLock],
    /// Whose delivery it belongs to.
    pub delivery: Delivery<'a>,
}

/// The delivery that a commit belongs to.
#[derive(Debug, Default)]
#[expect(
    clippy::large_enum_variant,
    reason = "one is on the stack for each commit; a box would allocate for each batch"
)]
pub enum Delivery<'a> {
    /// None, and the store must make the commit: for a tick, or a load.
    #[default]
    None,
    /// None, and what stands in for the store during an outage may make the commit: for a request, or a message.
    Fallback,
    /// A batch of events, which the commit settles.
    Batch {
        /// The consumer that the commit is fenced by, where the source has one.
        consumer: Option<(&'a Consumer, Epoch)>,
        /// What becomes of entries of a stream.
        settlement: Settlement,
        /// What becomes of jobs of a queue.
        lease: Option<LeaseSettlement>,
        /// Whether writes and acknowledgement are one transaction.
        atomic: bool,
    },
}

impl<'a> From<&'a CommitScope> for Delivery<'a> {
    /// A commit in the middle of a batch: it is fenced as the batch is, and settles nothing.
    fn from(scope: &'a CommitScope) -> Self {
        let (consumer, lease) = match scope {
            CommitScope::Consumer(consumer, epoch) => (Some((&**consumer, *epoch)), None),
            CommitScope::Lease(lease) => (None, Some(LeaseSettlement::new(lease.clone(), Loss::Fenced))),
        };
        Self::Batch { consumer, settlement: Settlement::default(), lease, atomic: true }
    }
}

/// A commit that was made.
#[derive(Debug)]
pub struct CallCommitted {
    /// Writes that the store refused; the others stand.
    pub refused: Vec<RefusedWrite>,
    /// How long it took, its turn in the quota not counted.
    pub took: Duration,
}

/// A write that the store refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store refused {name}: {error}")]
pub struct RefusedWrite {
    /// Its index among the effects of the commit.
    pub effect: usize,
    /// The function that made it.
    pub name: &'static str,
    /// The store's error.
    pub error: String,
}

impl CallCommit<'_> {
    /// Makes the commit.
    pub async fn make(mut self, context: &PluginContext) -> Result<CallCommitted, CommitError> {
        let turn = context.quota.commit(self.effects.len().saturating_sub(self.own_effects)).await;
        let begun = Instant::now();
        let committed = self.send(context).await;
        let took = begun.elapsed();
        drop(turn);
        release_all(self.locks).await;
        let committed = committed?;
        self.taken.settled();
        let refused = committed.refused.into_iter().map(|refusal| RefusedWrite {
            name: self.effects.get(refusal.effect).map_or("a write", Effect::name),
            effect: refusal.effect,
            error: refusal.error,
        });
        let refused: Vec<RefusedWrite> = refused.collect();
        for refusal in &refused {
            let key = self.effects.get(refusal.effect).map_or("", Effect::key);
            tracing::warn!(plugin = context.plugin, key, error = %refusal, "a write was refused; the others stand");
        }
        Ok(CallCommitted { refused, took })
    }

    async fn send(&mut self, context: &PluginContext) -> Result<Committed, CommitError> {
        let plain = Commit::plain(self.effects, self.watched);
        let taken = self.taken.settlements();
        let (commit, lease) = match std::mem::take(&mut self.delivery) {
            Delivery::Batch { consumer, settlement, lease, atomic } => {
                (Commit { consumer, settlement, atomic, ..plain }, lease)
            }
            Delivery::Fallback => match context.outage.as_ref().filter(|_| self.taken.is_empty()) {
                Some(outage) => return outage.commit(self.effects, self.watched).await,
                None => (plain, None),
            },
            Delivery::None => (plain, None),
        };
        let leases: Vec<LeaseSettlement> = lease.into_iter().chain(taken).collect();
        context.store.commit(Commit { leases: &leases, ..commit }).await
    }
}
