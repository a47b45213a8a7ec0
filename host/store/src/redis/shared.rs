//! Multiplexed connections that all callers share.
//!
//! Nothing that blocks the connection or changes its state is ever sent here. Each connection has a watchdog: a
//! connection that does not answer `TIME` in time is given up, which also frees callers from a peer that vanished
//! without a word.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ::redis::aio::{ConnectionLike, MultiplexedConnection};
use ::redis::{Cmd, Pipeline, Value};
use arc_swap::ArcSwapOption;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::super::StoreError;
use super::clock::{Clock, local_ms};
use super::connector::{Backoff, Connector};
use super::reply;
use sandbar_core::priority::Priority;

/// How often a connection is asked whether it is alive.
const WATCHDOG_INTERVAL: Duration = Duration::from_millis(500);
/// How long the answer to that may take.
const WATCHDOG_TIMEOUT: Duration = Duration::from_secs(2);

/// One place for a connection, empty while there is none.
#[derive(Debug)]
struct SharedConnection {
    connection: ArcSwapOption<MultiplexedConnection>,
    suspect: Notify,
}

/// The shared connections, used in turn. Once background code has run, the last one is for it alone: answers come in
/// the order of the questions, so the answers to a tenant that asks much would delay those to others.
#[derive(Debug)]
pub(super) struct SharedPool {
    slots: Vec<Arc<SharedConnection>>,
    turn: AtomicUsize,
    is_split: AtomicBool,
    address: String,
}

impl SharedPool {
    /// Makes the connections and starts their watchdogs.
    pub(super) async fn start(
        connector: &Arc<Connector>,
        clock: &Arc<Clock>,
        count: u32,
    ) -> Result<(Self, Vec<AbortOnDropHandle<()>>), StoreError> {
        let (mut slots, mut tasks) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let mut connection = connector.connect().await?;
            probe(&mut connection, clock).await?;
            let slot = Arc::new(SharedConnection {
                connection: ArcSwapOption::from_pointee(connection),
                suspect: Notify::new(),
            });
            let watchdog = watch(slot.clone(), connector.clone(), clock.clone());
            tasks.push(AbortOnDropHandle::new(tokio::spawn(watchdog)));
            slots.push(slot);
        }
        Ok((
            Self {
                slots,
                turn: AtomicUsize::new(0),
                is_split: AtomicBool::new(false),
                address: connector.address().to_owned(),
            },
            tasks,
        ))
    }

    /// Whether some connection is up.
    pub(super) fn is_up(&self) -> bool {
        self.slots.iter().any(|slot| slot.connection.load().is_some())
    }

    /// Sends one command and answers its value, `Value::ServerError` included: the caller knows the key that it names.
    pub(super) async fn query(&self, command: &Cmd) -> Result<Value, StoreError> {
        let (slot, mut connection) = self.pick()?;
        let answer = connection.req_packed_command(command).await;
        self.check(slot, answer)
    }

    pub(super) async fn query_all(&self, pipeline: &Pipeline) -> Result<Vec<Value>, StoreError> {
        let (slot, mut connection) = self.pick()?;
        let answer = connection.req_packed_commands(pipeline, 0, pipeline.len()).await;
        self.check(slot, answer)
    }

    pub(super) async fn eval(
        &self,
        script: &::redis::Script,
        keys: &[&str],
        arguments: &[&[u8]],
    ) -> Result<Value, StoreError> {
        let (slot, mut connection) = self.pick()?;
        let mut invocation = script.prepare_invoke();
        keys.iter().for_each(|key| {
            invocation.key(*key);
        });
        arguments.iter().for_each(|argument| {
            invocation.arg(*argument);
        });
        let answer = invocation.invoke_async::<Value>(&mut connection).await;
        self.check(slot, answer)
    }

    fn pick(&self) -> Result<(&SharedConnection, MultiplexedConnection), StoreError> {
        let (slots, last) = (self.slots.len(), self.slots.len().saturating_sub(1));
        let first = match Priority::current() {
            Priority::Background => {
                self.is_split.store(true, Ordering::Relaxed);
                last
            }
            Priority::Foreground => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                turn % if self.is_split.load(Ordering::Relaxed) { last.max(1) } else { slots.max(1) }
            }
        };
        // Where the connection is lost that it should be, any other will do.
        (0..slots)
            .filter_map(|i| self.slots.get((first.wrapping_add(i)) % slots))
            .find_map(|slot| slot.connection.load().as_deref().map(|connection| (&**slot, connection.clone())))
            .ok_or_else(|| StoreError::Unavailable(format!("no connection to {}", self.address)))
    }

    #[expect(clippy::unused_self, reason = "reads as a step of the pool's calls")]
    fn check<T>(&self, slot: &SharedConnection, answer: ::redis::RedisResult<T>) -> Result<T, StoreError> {
        answer.map_err(|error| {
            if error.is_io_error() || error.is_timeout() || error.is_unrecoverable_error() {
                slot.suspect.notify_one();
            }
            reply::error(&error)
        })
    }
}

/// Keeps one slot filled.
async fn watch(slot: Arc<SharedConnection>, connector: Arc<Connector>, clock: Arc<Clock>) {
    loop {
        loop {
            let Some(connection) = slot.connection.load_full() else { break };
            // A busy connection is probed as well: the probe is also what keeps the clock in step.
            tokio::select! {
                () = tokio::time::sleep(WATCHDOG_INTERVAL) => {}
                () = slot.suspect.notified() => {}
            }
            if let Err(error) = probe(&mut (*connection).clone(), &clock).await {
                slot.connection.store(None);
                connector.lost();
                metrics::gauge!("sandbar_store_up").set(0.0);
                tracing::warn!(%error, server = connector.address(), "lost a connection to the store");
            }
        }
        let mut backoff = Backoff::default();
        loop {
            let connected = async {
                let mut connection = connector.connect().await?;
                probe(&mut connection, &clock).await?;
                Ok::<_, StoreError>(connection)
            };
            match connected.await {
                Ok(connection) => {
                    slot.connection.store(Some(Arc::new(connection)));
                    metrics::counter!("sandbar_store_reconnects_total").increment(1);
                    metrics::gauge!("sandbar_store_up").set(1.0);
                    tracing::info!(server = connector.address(), "connected to the store again");
                    break;
                }
                Err(error) => {
                    tracing::debug!(%error, "could not connect to the store");
                    backoff.pause().await;
                }
            }
        }
    }
}

/// Asks for the time, within [`WATCHDOG_TIMEOUT`].
async fn probe(connection: &mut MultiplexedConnection, clock: &Clock) -> Result<(), StoreError> {
    let time = ::redis::cmd("TIME");
    let asked_ms = local_ms();
    let answer = tokio::time::timeout(WATCHDOG_TIMEOUT, time.query_async::<(u64, u64)>(connection)).await;
    match answer {
        Err(_) => Err(StoreError::TimedOut("TIME".to_owned())),
        Ok(Err(error)) => Err(reply::error(&error)),
        Ok(Ok((seconds, micros))) => {
            clock.set(asked_ms, seconds.saturating_mul(1000).saturating_add(micros / 1000));
            Ok(())
        }
    }
}
