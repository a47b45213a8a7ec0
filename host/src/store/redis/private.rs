//! Connections that one commit has for itself, because `WATCH` belongs to a connection.

use std::sync::Arc;

use ::redis::aio::MultiplexedConnection;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::super::StoreError;
use super::connector::Connector;

/// A bounded pool. A connection goes back only when its user says that its state is known; in every other case (an
/// error, a dropped future) it is closed.
#[derive(Debug)]
pub(super) struct PrivatePool {
    connector: Arc<Connector>,
    /// With the number of losses before each was made.
    idle: Mutex<Vec<(u64, MultiplexedConnection)>>,
    permits: Semaphore,
}

/// A connection for one user.
pub(super) struct Private<'a> {
    connection: MultiplexedConnection,
    losses: u64,
    pool: &'a PrivatePool,
    _permit: SemaphorePermit<'a>,
}

impl PrivatePool {
    pub(super) fn new(connector: Arc<Connector>, count: u32) -> Self {
        Self { connector, idle: Mutex::default(), permits: Semaphore::new(usize::try_from(count).unwrap_or(1)) }
    }

    /// Takes an idle connection or makes one; waits while all are in use. One that was idle while another was lost is not used: its commit
    /// would only be lost too, and who made it would not know whether it was made.
    pub(super) async fn take(&self) -> Result<Private<'_>, StoreError> {
        let closed = |_| StoreError::Unavailable("the store is closed".to_owned());
        let permit = self.permits.acquire().await.map_err(closed)?;
        let losses = self.connector.losses();
        let idle = {
            let mut idle = self.idle.lock();
            idle.retain(|(made_after, _)| *made_after == losses);
            idle.pop()
        };
        let connection = match idle {
            Some((_, connection)) => connection,
            None => self.connector.connect().await?,
        };
        Ok(Private { connection, losses, pool: self, _permit: permit })
    }

    /// Makes a connection on which nothing was sent before, outside of the pool's count.
    pub(super) async fn fresh(&self) -> Result<MultiplexedConnection, StoreError> {
        self.connector.connect().await
    }
}

impl Private<'_> {
    /// The connection.
    pub(super) fn connection(&mut self) -> &mut MultiplexedConnection {
        &mut self.connection
    }

    /// Gives the connection back: every reply was read and nothing is watched.
    pub(super) fn give_back(self) {
        self.pool.idle.lock().push((self.losses, self.connection));
    }
}
