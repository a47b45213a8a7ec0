//! Connections that one commit has for itself, because `WATCH` belongs to a connection.
//!
//! Between two commits for the same consumer a connection goes on watching the consumer's fence, so that the next one
//! need not ask for it first: [`Private::watches`].

use std::sync::Arc;

use ::redis::aio::MultiplexedConnection;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::super::{Epoch, StoreError};
use super::connector::Connector;

/// A bounded pool. A connection goes back only when its user says that its state is known; in every other case (an
/// error, a dropped future) it is closed.
#[derive(Debug)]
pub(super) struct PrivatePool {
    connector: Arc<Connector>,
    idle: Mutex<Vec<Idle>>,
    permits: Semaphore,
}

/// A connection that is not in use.
#[derive(Debug)]
struct Idle {
    connection: MultiplexedConnection,
    /// The number of losses before it was made.
    losses: u64,
    last: Option<Last>,
}

/// For whom the last commit over a connection was.
#[derive(Debug)]
struct Last {
    /// The consumer's fence key.
    fence: String,
    /// What it held when the connection began to watch it; none where it does not.
    watched: Option<Epoch>,
}

/// A connection for one user.
pub(super) struct Private<'a> {
    connection: MultiplexedConnection,
    losses: u64,
    last: Option<Last>,
    pool: &'a PrivatePool,
    _permit: SemaphorePermit<'a>,
}

impl PrivatePool {
    pub(super) fn new(connector: Arc<Connector>, count: u32) -> Self {
        Self { connector, idle: Mutex::default(), permits: Semaphore::new(usize::try_from(count).unwrap_or(1)) }
    }

    /// Takes an idle connection or makes one; waits while all are in use. The best is one that watches this fence,
    /// then one whose last commit was for the same consumer, then one that watches nothing. One that was idle while
    /// another was lost is not used: its commit would only be lost too, and who made it would not know whether it was
    /// made.
    pub(super) async fn take(&self, fence: Option<&str>) -> Result<Private<'_>, StoreError> {
        let closed = |_| StoreError::Unavailable("the store is closed".to_owned());
        let permit = self.permits.acquire().await.map_err(closed)?;
        let losses = self.connector.losses();
        let idle = {
            let mut idle = self.idle.lock();
            idle.retain(|idle| idle.losses == losses);
            let best = idle.iter().enumerate().max_by_key(|(_, idle)| idle.suits(fence)).map(|(at, _)| at);
            best.map(|at| idle.swap_remove(at))
        };
        let (connection, last) = match idle {
            Some(Idle { connection, last, .. }) => (connection, last),
            None => (self.connector.connect().await?, None),
        };
        Ok(Private { connection, losses, last, pool: self, _permit: permit })
    }

    /// Makes a connection on which nothing was sent before, outside of the pool's count.
    pub(super) async fn fresh(&self) -> Result<MultiplexedConnection, StoreError> {
        self.connector.connect().await
    }
}

impl Idle {
    /// How well it suits a commit with this fence.
    fn suits(&self, fence: Option<&str>) -> u8 {
        match &self.last {
            Some(last) if fence == Some(last.fence.as_str()) => 2 + u8::from(last.watched.is_some()),
            Some(Last { watched: Some(_), .. }) => 0,
            _ => 1,
        }
    }
}

impl Private<'_> {
    /// The connection.
    pub(super) fn connection(&mut self) -> &mut MultiplexedConnection {
        &mut self.connection
    }

    /// Whether it has watched this fence since the fence held this epoch: a transaction is made only if it still does.
    pub(super) fn watches(&self, (fence, epoch): (&str, Epoch)) -> bool {
        self.last.as_ref().is_some_and(|last| last.fence == fence && last.watched == Some(epoch))
    }

    /// Whether it watches any fence.
    pub(super) fn is_watching(&self) -> bool {
        self.last.as_ref().is_some_and(|last| last.watched.is_some())
    }

    /// Whether the last commit over it was for the same consumer, so that the next one may be as well.
    pub(super) fn was_for(&self, fence: &str) -> bool {
        self.last.as_ref().is_some_and(|last| last.fence == fence)
    }

    /// A commit was made over it, or surely not, for this consumer; since then it watches the fence, which held this
    /// epoch, or nothing.
    pub(super) fn used(&mut self, fence: Option<&str>, watched: Option<Epoch>) {
        match (&mut self.last, fence) {
            (Some(last), Some(fence)) if last.fence == fence => last.watched = watched,
            (last, fence) => *last = fence.map(|fence| Last { fence: fence.to_owned(), watched }),
        }
    }

    /// Gives the connection back: every reply was read, and nothing is watched except what [`Private::used`] noted.
    pub(super) fn give_back(self) {
        let Self { connection, losses, last, pool, .. } = self;
        pool.idle.lock().push(Idle { connection, losses, last });
    }
}
