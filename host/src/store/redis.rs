//! The store in a Redis server, 6.2 or newer, or in Valkey.
//!
//! Few connections serve a host, however many plugins it runs:
//!
//! | connections | for |
//! | --- | --- |
//! | `shared-connections` (2), multiplexed | reads, deliveries, calls that answer |
//! | up to `commit-connections` (4), private for two round trips | commits, which `WATCH` |
//! | 1, watching | wake-ups, and changes of what is kept in memory, through client tracking; locks that are handed over |
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
mod lease;
mod loading;
mod lock;
mod private;
mod pubsub;
mod queue;
mod reply;
mod scripts;
mod shared;
mod stream;
mod subscriptions;
mod tracking;

use std::sync::Arc;

use ::redis::{Cmd, Pipeline, Value};
use tokio_util::task::AbortOnDropHandle;

use super::{Changes, StoreError, Wakes};
use crate::config::StoreConfig;
use clock::Clock;
use connector::Connector;
use lock::Desk;
use private::PrivatePool;
use scripts::{Script, Scripts};
use shared::SharedPool;

/// A Redis server; cheap to share behind an `Arc`. Its background tasks end when it is dropped.
#[derive(Debug)]
pub struct Redis {
    shared: Arc<SharedPool>,
    private: Arc<PrivatePool>,
    scripts: Arc<Scripts>,
    wakes: Wakes,
    changes: Changes,
    clock: Arc<Clock>,
    tracking: tracking::Tracking,
    subscriptions: subscriptions::Subscriptions,
    desk: Desk,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Redis {
    /// Connects, checks the server's version, and starts to watch the connections. Fails where the server cannot be
    /// reached now; later it is waited for.
    pub async fn connect(config: &StoreConfig) -> Result<Self, StoreError> {
        let connector = Arc::new(Connector::new(config)?);
        let version = connector.check_version().await?;
        let clock = Arc::new(Clock::default());
        let (wakes, changes) = (Wakes::default(), Changes::remote());
        let (shared, mut tasks) = SharedPool::start(&connector, &clock, config.shared_connections).await?;
        let shared = Arc::new(shared);
        let private = Arc::new(PrivatePool::new(connector.clone(), config.commit_connections));
        let scripts = Arc::new(Scripts::new(version));
        let tracking = tracking::Tracking::default();
        let desk = Desk::new(shared.clone(), private.clone(), scripts.clone(), tracking.clone());
        let subscriptions = subscriptions::Subscriptions::new(connector.clone());
        tasks.push(tracking::start(connector, wakes.clone(), changes.clone(), &tracking, desk.clone()));
        Ok(Self { shared, private, scripts, wakes, changes, clock, tracking, subscriptions, desk, _tasks: tasks })
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

    /// Runs a script over a connection on which nothing was sent before.
    async fn eval_fresh(&self, script: Script, keys: &[&str], arguments: &[&[u8]]) -> Result<Value, StoreError> {
        let mut connection = self.private.fresh().await?;
        let mut invocation = self.scripts.get(script).prepare_invoke();
        keys.iter().for_each(|key| _ = invocation.key(*key));
        arguments.iter().for_each(|argument| _ = invocation.arg(*argument));
        invocation.invoke_async(&mut connection).await.map_err(|error| reply::error(&error))
    }

    /// Runs a script over a shared connection.
    async fn eval(&self, script: Script, keys: &[&str], arguments: &[&[u8]]) -> Result<Value, StoreError> {
        self.shared.eval(self.scripts.get(script), keys, arguments).await
    }
}
