//! The store in a Redis server, 6.2 or newer, or in Valkey.
//!
//! Few connections serve a host, however many plugins it runs:
//!
//! | connections | for |
//! | --- | --- |
//! | `shared-connections` (2), multiplexed | reads, deliveries, calls that answer |
//! | up to `commit-connections` (4), private for two round trips | commits, which `WATCH` |
//! | 1, watching | wake-ups through client tracking |
//! | 1, watching, where somebody listens to channels | what is published |
//! | 1 for a moment | advancing a fence after a lost reply |
//!
//! Each is watched and rebuilt with capped, jittered back-off. Nothing is ever sent a second time by itself: a lost
//! reply is an error that says so, and the delivery protocol resolves it (see `store/delivery.rs`).

mod cache;
mod clock;
mod collections;
mod commit;
mod connector;
mod delivery;
mod effects;
mod private;
mod pubsub;
mod reply;
mod scripts;
mod shared;
mod stream;
mod subscriptions;
mod tracking;

use std::sync::Arc;

use ::redis::{Cmd, Pipeline, Value};
use tokio_util::task::AbortOnDropHandle;

use super::{StoreError, Wakes};
use crate::config::StoreConfig;
use clock::Clock;
use connector::Connector;
use private::PrivatePool;
use scripts::{Script, Scripts};
use shared::SharedPool;

/// A Redis server; cheap to share behind an `Arc`. Its background tasks end when it is dropped.
#[derive(Debug)]
pub struct Redis {
    shared: SharedPool,
    private: PrivatePool,
    scripts: Scripts,
    wakes: Wakes,
    clock: Arc<Clock>,
    tracking: tracking::Tracking,
    subscriptions: subscriptions::Subscriptions,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Redis {
    /// Connects, checks the server's version, and starts to watch the connections. Fails where the server cannot be
    /// reached now; later it is waited for.
    pub async fn connect(config: &StoreConfig) -> Result<Self, StoreError> {
        let connector = Arc::new(Connector::new(config)?);
        let version = connector.check_version().await?;
        let clock = Arc::new(Clock::default());
        let wakes = Wakes::default();
        let (shared, mut tasks) = SharedPool::start(&connector, &clock, config.shared_connections).await?;
        let (tracking, task) = tracking::start(connector.clone(), wakes.clone());
        tasks.push(task);
        Ok(Self {
            shared,
            subscriptions: subscriptions::Subscriptions::new(connector.clone()),
            private: PrivatePool::new(connector, config.commit_connections),
            scripts: Scripts::new(version),
            wakes,
            clock,
            tracking,
            _tasks: tasks,
        })
    }

    /// Sends one command over a shared connection, bounded by the response time-out; its value may be a
    /// `Value::ServerError`.
    async fn query(&self, command: &Cmd) -> Result<Value, StoreError> {
        self.shared.query(command).await
    }

    /// Sends commands in one write; one value for each, `Value::ServerError` included.
    async fn query_all(&self, pipeline: &Pipeline) -> Result<Vec<Value>, StoreError> {
        self.shared.query_all(pipeline).await
    }

    /// Runs a script over a shared connection.
    async fn eval(&self, script: Script, keys: &[&str], arguments: &[&[u8]]) -> Result<Value, StoreError> {
        self.shared.eval(self.scripts.get(script), keys, arguments).await
    }
}
