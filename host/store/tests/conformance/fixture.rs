//! A store for one test, with keys that no other test uses.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use sandbar_core::config::StoreConfig;
use sandbar_store::embedded::Embedded;
use sandbar_store::redis::Redis;
use sandbar_store::{
    Batch, Commit, CommitError, Committed, Consumer, Delivered, Effect, EntryId, Epoch, GroupStart, Settlement, Source,
    Store, StoreError,
};
use sandbar_test_harness::RedisServer;

use super::strangers::Strangers;

/// How long something may take that happens by itself.
pub(crate) const SOON: Duration = Duration::from_secs(5);

/// How many dead letters the sources of these tests keep.
pub(crate) const DEAD_MAX_LEN: u64 = 100;
/// How long the sources of these tests keep dead letters, in milliseconds.
pub(crate) const DEAD_MAX_AGE_MS: u64 = 60_000;

/// A store, and what belongs to one test within it.
#[derive(Debug)]
pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn Store>,
    prefix: String,
    server: Server,
}

/// What keeps a store alive.
#[derive(Debug)]
enum Server {
    Embedded(Arc<Embedded>),
    Fresh(Arc<RedisServer>),
    Crowded(Arc<Crowded>),
}

/// A server with other people's keys.
#[derive(Debug)]
struct Crowded {
    server: RedisServer,
    strangers: Strangers,
}

/// Servers are shared by the tests that run at the same time, and end with the last of them.
static FRESH: Mutex<Weak<RedisServer>> = Mutex::new(Weak::new());
static CROWDED: Mutex<Weak<Crowded>> = Mutex::new(Weak::new());
/// Tells the prefixes of tests apart.
static PREFIXES: AtomicU64 = AtomicU64::new(0);

/// The value that others hold, or a new one.
fn shared<T>(place: &Mutex<Weak<T>>, make: impl FnOnce() -> T) -> Arc<T> {
    let mut place = place.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    place.upgrade().unwrap_or_else(|| {
        let made = Arc::new(make());
        *place = Arc::downgrade(&made);
        made
    })
}

impl Fixture {
    /// An embedded store of its own.
    pub(crate) fn embedded() -> Self {
        let store = Arc::new(Embedded::new());
        Self::new(store.clone(), Server::Embedded(store))
    }

    /// A Redis server without other keys than those of these tests.
    pub(crate) async fn redis() -> Self {
        let server = shared(&FRESH, RedisServer::start);
        Self::new(Arc::new(connect(&server.url()).await), Server::Fresh(server))
    }

    /// A Redis server for one test alone, to which all commits go over one connection.
    pub(crate) async fn one_at_a_time() -> Self {
        let server = RedisServer::start();
        let config = StoreConfig { url: server.url(), commit_connections: 1, ..StoreConfig::default() };
        let store = Redis::connect(&config).await.expect("a Redis server");
        Self::new(Arc::new(store), Server::Fresh(Arc::new(server)))
    }

    /// A Redis server full of other people's keys.
    pub(crate) async fn crowded() -> Self {
        let crowded = shared(&CROWDED, || {
            let server = RedisServer::start();
            let strangers = Strangers::settle(&server);
            Crowded { server, strangers }
        });
        Self::new(Arc::new(connect(&crowded.server.url()).await), Server::Crowded(crowded))
    }

    /// The same as a tenant whom the server keeps below its prefix.
    pub(crate) async fn confined() -> Self {
        let fresh = Self::redis().await;
        let tenant = fresh.prefix.trim_end_matches(':').to_owned();
        let store = fresh.store.confine(&tenant, &fresh.prefix).await.expect("a user of its own");
        Self { store, ..fresh }
    }

    fn new(store: Arc<dyn Store>, server: Server) -> Self {
        let number = PREFIXES.fetch_add(1, Ordering::Relaxed);
        Self { store, prefix: format!("test-{number}:"), server }
    }

    /// Panics where a key of another client is not as it was.
    pub(crate) fn assert_strangers_untouched(&self) {
        if let Server::Crowded(crowded) = &self.server {
            crowded.strangers.assert_untouched(&crowded.server);
        }
    }

    /// The embedded store, where it is the one under test.
    pub(crate) fn as_embedded(&self) -> Option<&Embedded> {
        match &self.server {
            Server::Embedded(store) => Some(store),
            Server::Fresh(_) | Server::Crowded(_) => None,
        }
    }

    /// The server, where a Redis store is under test.
    pub(crate) fn as_redis(&self) -> Option<&RedisServer> {
        match &self.server {
            Server::Embedded(_) => None,
            Server::Fresh(server) => Some(server),
            Server::Crowded(crowded) => Some(&crowded.server),
        }
    }

    /// What all keys of this test begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A key of this test alone.
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Makes a commit outside of a delivery.
    pub(crate) async fn try_write(&self, effects: &[Effect]) -> Result<Committed, CommitError> {
        let settlement = Settlement::default();
        self.store.commit(Commit { consumer: None, watched: &[], effects, settlement, leases: &[], atomic: true }).await
    }

    /// Makes a commit outside of a delivery, none of which is refused.
    pub(crate) async fn write(&self, effects: &[Effect]) {
        let committed = self.try_write(effects).await.expect("a commit");
        assert_eq!(committed, Committed::default(), "nothing is refused");
    }

    /// A consumer group on the stream `s` that starts at its beginning.
    pub(crate) async fn source(&self) -> Arc<Source> {
        let source = Source::new(&self.prefix, "s", "g", DEAD_MAX_LEN, DEAD_MAX_AGE_MS);
        self.store.open(&source, GroupStart::After(EntryId::ZERO)).await.expect("a group");
        Arc::new(source)
    }

    /// A consumer that has joined.
    pub(crate) async fn consumer(&self, source: &Arc<Source>, name: &str) -> Consumer {
        let consumer = Consumer::new(source.clone(), name.to_owned());
        self.store.join(&consumer).await.expect("a consumer");
        consumer
    }

    /// Appends entries with one field `n` = 0, 1, …, and answers their ids.
    pub(crate) async fn feed(&self, stream: &str, count: usize) -> Vec<EntryId> {
        let append = |n: usize| super::build::append(stream, &[("n", &n.to_string())]);
        self.write(&(0..count).map(append).collect::<Vec<_>>()).await;
        let mut newest = self.range(stream, EntryId::ZERO, EntryId::MAX, 10_000, true).await;
        newest.truncate(count);
        newest.reverse();
        newest
    }

    /// The ids of a range.
    pub(crate) async fn range(
        &self,
        stream: &str,
        start: EntryId,
        end: EntryId,
        count: u32,
        reverse: bool,
    ) -> Vec<EntryId> {
        let entries = self.store.range(stream, start, end, count, reverse).await.expect("a range");
        entries.into_iter().map(|entry| entry.id).collect()
    }

    /// Settles events of a consumer in an epoch, with effects.
    pub(crate) async fn settle(
        &self,
        consumer: &Consumer,
        epoch: Epoch,
        effects: &[Effect],
        settlement: Settlement,
    ) -> Result<Committed, CommitError> {
        let consumer = Some((consumer, epoch));
        self.store.commit(Commit { consumer, watched: &[], effects, settlement, leases: &[], atomic: true }).await
    }

    /// Acknowledges events, which must succeed.
    pub(crate) async fn done(&self, consumer: &Consumer, epoch: Epoch, ids: &[EntryId]) {
        let settlement = Settlement { done: ids.to_vec(), ..Settlement::default() };
        let committed = self.settle(consumer, epoch, &[], settlement).await;
        assert_eq!(committed, Ok(Committed::default()));
    }

    /// Reads new entries in an epoch that is known.
    pub(crate) async fn read(&self, consumer: &Consumer, count: u32) -> (Epoch, Vec<Delivered>) {
        known(self.store.read(consumer, count).await.expect("a batch"))
    }

    /// All that is pending for a consumer and not waiting.
    pub(crate) async fn pending(&self, consumer: &Consumer) -> (Epoch, Vec<Delivered>) {
        known(self.store.pending(consumer, EntryId::ZERO, 1000).await.expect("pending entries").batch)
    }

    /// How many entries of a source are pending in all.
    pub(crate) async fn pending_count(&self, source: &Source) -> u64 {
        self.store.backlog(source).await.expect("a backlog").pending
    }
}

/// A store in a server.
pub(crate) async fn connect(url: &str) -> Redis {
    Redis::connect(&StoreConfig { url: url.to_owned(), ..StoreConfig::default() }).await.expect("a Redis server")
}

/// A batch whose epoch is known.
pub(crate) fn known(batch: Batch) -> (Epoch, Vec<Delivered>) {
    (batch.epoch.expect("an epoch"), batch.events)
}

/// The ids of events.
pub(crate) fn ids(events: &[Delivered]) -> Vec<EntryId> {
    events.iter().map(|event| event.id).collect()
}

pub(crate) fn assert_wrong_type<T: std::fmt::Debug>(answer: Result<T, StoreError>, key: &str) {
    match answer {
        Err(StoreError::WrongType(text)) => assert!(text.contains(key), "{text} does not name {key}"),
        other => panic!("{key}: a wrong type expected, got {other:?}"),
    }
}

pub(crate) fn assert_limit<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Limit(_))), "a limit expected, got {answer:?}");
}

pub(crate) fn assert_no_group<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::NoGroup(_))), "no group expected, got {answer:?}");
}
