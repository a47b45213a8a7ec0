//! The store in a Redis server, 6.2 or newer, or in Valkey.
//!
//! Few connections serve a host, however many plugins it runs:
//!
//! | connections | for |
//! | --- | --- |
//! | `shared-connections` (2), multiplexed | reads, deliveries, calls that answer |
//! | up to `commit-connections` (4), private for a round trip or two | commits, which `WATCH` |
//! | 1, watching | wake-ups, changes of what is kept in memory (client tracking), locks that are handed over |
//! | 1, watching, where somebody listens to channels | what is published |
//! | 1 for a moment | advancing a fence after a lost reply |
//!
//! A tenant with `acl = true` has a user of its own, and connections: one shared, one for commits, and one for
//! channels where its plugins listen to any (`acl.rs`). Wake-ups come over the host's own.
//!
//! Each is watched and rebuilt with capped, jittered back-off. Nothing is ever sent a second time by itself: a lost
//! reply is an error that says so, and the delivery protocol resolves it (see `store/delivery.rs`).

mod acl;
mod cache;
mod clock;
mod collections;
mod commit;
mod connector;
mod dead_letters;
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
use async_trait::async_trait;
use tokio_util::task::AbortOnDropHandle;

use super::{Changes, Confine, Store, StoreError, Wakes};
use acl::ServerUser;
pub use acl::{COMMANDS, COMMANDS_7};
use clock::Clock;
use connector::{Connector, User, Version};
use lock::LockClient;
use lock::waiters::Waiters;
use private::PrivatePool;
use sandbar_core::config::StoreConfig;
use scripts::{Script, Scripts};
use shared::SharedPool;

/// Connections of a tenant that is confined, of each kind.
const TENANT_CONNECTIONS: u32 = 1;

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
    client: LockClient,
    connector: Arc<Connector>,
    version: Version,
    /// The user of the tenant that this store is confined to.
    user: Option<Arc<ServerUser>>,
    _tasks: Arc<Tasks>,
}

/// Background tasks, and those of the store that this one is a part of.
#[derive(Debug)]
#[expect(dead_code, reason = "they end when they are dropped")]
struct Tasks(Vec<AbortOnDropHandle<()>>, Option<Arc<Tasks>>);

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
        let waiters = Waiters::new("");
        let client = LockClient::new(shared.clone(), private.clone(), scripts.clone(), tracking.notifier(), waiters);
        let subscriptions = subscriptions::Subscriptions::new(connector.clone());
        tasks.push(tracking::start(connector.clone(), wakes.clone(), changes.clone(), &tracking));
        tracking.add(client.clone());
        let _tasks = Arc::new(Tasks(tasks, None));
        Ok(Self {
            shared,
            private,
            scripts,
            wakes,
            changes,
            clock,
            tracking,
            subscriptions,
            client,
            connector,
            version,
            user: None,
            _tasks,
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

#[async_trait]
impl Confine for Redis {
    async fn confine(&self, tenant: &str, prefix: &str) -> Result<Arc<dyn Store>, StoreError> {
        let user = Arc::new(ServerUser::new(self.connector.clone(), tenant, prefix, self.version >= Version(7, 0)));
        user.ensure().await?;
        let connector = Arc::new(self.connector.with(user.clone())?);
        let (shared, tasks) = SharedPool::start(&connector, &self.clock, TENANT_CONNECTIONS).await?;
        let shared = Arc::new(shared);
        let private = Arc::new(PrivatePool::new(connector.clone(), TENANT_CONNECTIONS));
        let (scripts, tracking) = (self.scripts.clone(), self.tracking.clone());
        let client = LockClient::new(
            shared.clone(),
            private.clone(),
            scripts.clone(),
            tracking.notifier(),
            Waiters::new(prefix),
        );
        tracking.add(client.clone());
        Ok(Arc::new(Self {
            shared,
            private,
            scripts,
            wakes: self.wakes.clone(),
            changes: self.changes.clone(),
            clock: self.clock.clone(),
            tracking,
            subscriptions: subscriptions::Subscriptions::below(connector.clone(), prefix),
            client,
            connector,
            version: self.version,
            user: Some(user),
            _tasks: Arc::new(Tasks(tasks, Some(self._tasks.clone()))),
        }))
    }

    async fn unconfine(&self) -> Result<(), StoreError> {
        self.tracking.remove(&self.client);
        match &self.user {
            Some(user) => user.leave().await,
            None => Ok(()),
        }
    }
}

impl Redis {
    /// Refuses a name that the server would not refuse by itself although it lies outside of the tenant's prefix: it
    /// does not look at patterns of keys, nor at whose subscribers are counted. `literal` is what all that it stands
    /// for begins with.
    fn is_within(&self, name: &str, literal: &str) -> Result<(), StoreError> {
        match &self.user {
            Some(user) if !literal.starts_with(user.prefix()) => {
                Err(StoreError::Denied(format!("`{name}` lies outside of the tenant's prefix")))
            }
            Some(_) | None => Ok(()),
        }
    }
}
