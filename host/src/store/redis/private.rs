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
    idle: Mutex<Vec<MultiplexedConnection>>,
    permits: Semaphore,
}

/// A connection for one user.
pub(super) struct Private<'a> {
    connection: MultiplexedConnection,
    pool: &'a PrivatePool,
    _permit: SemaphorePermit<'a>,
}

impl PrivatePool {
    pub(super) fn new(connector: Arc<Connector>, count: u32) -> Self {
        Self { connector, idle: Mutex::default(), permits: Semaphore::new(usize::try_from(count).unwrap_or(1)) }
    }

    /// Takes an idle connection or makes one; waits while all are in use.
    pub(super) async fn take(&self) -> Result<Private<'_>, StoreError> {
        let closed = |_| StoreError::Unavailable("the store is closed".to_owned());
        let permit = self.permits.acquire().await.map_err(closed)?;
        let idle = self.idle.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connector.connect().await?,
        };
        Ok(Private { connection, pool: self, _permit: permit })
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
        self.pool.idle.lock().push(self.connection);
    }
}
