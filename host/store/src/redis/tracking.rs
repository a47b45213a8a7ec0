//! Wake-ups: one connection over which the server tells that watched keys have changed: streams that are waited for,
//! and keys of which somebody keeps copies.
//!
//! Client tracking in broadcast mode pushes the names of changed keys that begin with given prefixes. Pushes may
//! coalesce and, while the connection is down, are lost: everybody is woken after each connect, copies are dropped
//! when it is lost, and readers sweep from time to time. A push only marks a key as worth a look, so its handling
//! needs no queue. Once somebody in this process has waited for a lock, the connection also listens to the channel
//! over which locks are handed over.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use ::redis::{PushInfo, PushKind, Value};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::super::changes::common_prefix;
use super::super::{Changes, StoreError, Wakes};
use super::connector::{Backoff, Connector};
use super::lock::LockClient;
use super::reply;

/// The most prefixes that are tracked. The server compares every key that is written with each of them.
const PREFIXES_MAX: usize = 32;
/// How often the connection is asked whether it is alive.
const PING_INTERVAL: Duration = Duration::from_millis(500);
/// How long the answer to that may take.
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// The same while copies of values are read: they are trusted no longer than [`super::super::TRUST`] after it was
/// asked.
const PING_INTERVAL_NEEDED: Duration = Duration::from_millis(10);
/// For how long after the last read of a copy that goes on.
const NEEDED_FOR: Duration = Duration::from_secs(1);
/// How often all waiters are woken where the server does not allow tracking.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Notifies the watching task that what is to be watched has changed.
#[derive(Debug, Clone, Default)]
pub(super) struct Tracking {
    changed: Arc<Notify>,
    /// Who waits for locks: the host, and each tenant that is confined.
    clients: Arc<Mutex<Vec<LockClient>>>,
}

impl Tracking {
    /// Wakes the watching task: something else is to be listened to.
    pub(super) fn notifier(&self) -> Arc<Notify> {
        self.changed.clone()
    }

    /// Streams or prefixes came or went.
    pub(super) fn changed(&self) {
        self.changed.notify_one();
    }

    /// Hears of the locks that are handed to these as well.
    pub(super) fn add(&self, client: LockClient) {
        self.clients.lock().push(client);
    }

    /// Hears of them no more.
    pub(super) fn remove(&self, client: &LockClient) {
        self.clients.lock().retain(|other| !other.waiters().is(client.waiters()));
    }

    /// The channels over which locks are handed over, where there is a waiter for any.
    fn wanted(&self) -> Vec<(String, LockClient)> {
        let clients = self.clients.lock();
        clients
            .iter()
            .filter(|client| client.waiters().is_wanted())
            .map(|client| (client.waiters().channel(), client.clone()))
            .collect()
    }

    /// A lock was handed over.
    fn handed_over(&self, channel: &[u8], message: &[u8]) {
        let found = self.wanted().into_iter().find(|(name, _)| name.as_bytes() == channel);
        if let Some((_, client)) = found {
            client.handed_over(message);
        }
    }

    /// The channels are no longer listened to.
    fn deaf(&self) {
        self.clients.lock().iter().for_each(|client| client.waiters().end());
    }
}

/// Starts the watching task.
pub(super) fn start(
    connector: Arc<Connector>,
    wakes: Wakes,
    changes: Changes,
    tracking: &Tracking,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(watch(connector, wakes, changes, tracking.clone())))
}

async fn watch(connector: Arc<Connector>, wakes: Wakes, changes: Changes, tracking: Tracking) {
    let mut backoff = Backoff::default();
    loop {
        let lost = Arc::new(Notify::new());
        let pushes = {
            let (wakes, changes, lost, tracking) = (wakes.clone(), changes.clone(), lost.clone(), tracking.clone());
            move |push: PushInfo| {
                on_push(&push, &wakes, &changes, &lost, &tracking);
                Ok::<(), std::convert::Infallible>(())
            }
        };
        match connector.connect_with_pushes(pushes).await {
            Err(error) => tracing::debug!(%error, "could not connect for wake-ups"),
            Ok(connection) => {
                backoff = Backoff::default();
                if let Err(error) = serve(connection, &wakes, &changes, &lost, &tracking).await {
                    tracing::debug!(%error, "lost the connection for wake-ups");
                }
                tracking.deaf();
            }
        }
        changes.lost();
        wakes.wake_all();
        backoff.pause().await;
    }
}

fn on_push(push: &PushInfo, wakes: &Wakes, changes: &Changes, lost: &Notify, tracking: &Tracking) {
    match push.kind {
        PushKind::Disconnection => {
            changes.lost();
            lost.notify_one();
        }
        PushKind::Invalidate => match push.data.first() {
            Some(Value::Array(keys)) => {
                for key in keys {
                    if let Value::BulkString(key) = key
                        && let Ok(key) = std::str::from_utf8(key)
                    {
                        changes.changed(key);
                        wakes.wake(key);
                    }
                }
            }
            // The server forgot what it tracked (FLUSHALL): anything may have changed.
            _ => {
                changes.missed();
                wakes.wake_all();
            }
        },
        PushKind::Message => {
            if let [Value::BulkString(channel), Value::BulkString(message)] = &push.data[..] {
                tracking.handed_over(channel, message);
            }
        }
        _ => {}
    }
}

/// Tracks until the connection fails.
async fn serve(
    mut connection: MultiplexedConnection,
    wakes: &Wakes,
    changes: &Changes,
    lost: &Notify,
    tracking: &Tracking,
) -> Result<(), StoreError> {
    let mut tracked: Vec<String> = Vec::new();
    let (mut known, mut wanted): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let (mut polls, mut listens) = (false, HashSet::new());
    let (mut pinged, mut needed): (Instant, Option<Instant>) = (Instant::now(), None);
    loop {
        for (channel, client) in tracking.wanted() {
            if listens.insert(channel.clone()) {
                listen(&mut connection, &channel, &client).await?;
            }
        }
        let mut names = [wakes.streams(), changes.wanted()].concat();
        names.sort_unstable();
        if names != known {
            wanted = prefixes(names.clone(), PREFIXES_MAX);
            known = names;
        }
        if !polls && tracked != wanted {
            match track(&mut connection, changes, &tracked, &wanted).await {
                Ok(()) => tracked.clone_from(&wanted),
                Err(error) if error.is_transient() && !matches!(error, StoreError::Refused(_)) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "the server does not allow client tracking: streams are polled instead, and nothing is kept in memory");
                    polls = true;
                }
            }
            wakes.wake_all();
        }
        if changes.was_needed() {
            needed = Some(Instant::now());
        }
        let is_needed = needed.is_some_and(|needed| needed.elapsed() < NEEDED_FOR);
        let interval = match (polls, is_needed) {
            (true, _) => POLL_INTERVAL,
            (false, true) => PING_INTERVAL_NEEDED,
            (false, false) => PING_INTERVAL,
        };
        tokio::select! {
            () = tracking.changed.notified() => {}
            () = lost.notified() => return Err(StoreError::Unavailable("connection closed".to_owned())),
            () = changes.needed(), if !polls && !is_needed => {}
            // Counted from the last one, whatever else comes meanwhile.
            () = tokio::time::sleep_until((pinged + interval).into()) => {
                pinged = Instant::now();
                if polls {
                    wakes.wake_all();
                } else {
                    ping(&mut connection, changes).await?;
                }
            }
        }
    }
}

/// Listens to a channel over which locks are handed over.
async fn listen(connection: &mut MultiplexedConnection, channel: &str, client: &LockClient) -> Result<(), StoreError> {
    match connection.subscribe(channel).await.map_err(|error| reply::error(&error)) {
        Ok(()) => client.waiters().begin(),
        Err(error) if error.is_transient() && !matches!(error, StoreError::Refused(_)) => return Err(error),
        Err(error) => {
            tracing::warn!(%error, "the server does not allow to listen: locks are not handed over, but looked at");
        }
    }
    Ok(())
}

/// Asks whether the connection is alive. What the server pushed before it answers was received before the answer.
async fn ping(connection: &mut MultiplexedConnection, changes: &Changes) -> Result<(), StoreError> {
    let asked = Instant::now();
    let ping = ::redis::cmd("PING");
    let answer = tokio::time::timeout(PING_TIMEOUT, ping.query_async::<()>(connection)).await;
    answer.map_err(|_| StoreError::TimedOut("PING".to_owned()))?.map_err(|error| reply::error(&error))?;
    changes.alive(asked);
    Ok(())
}

/// Tracks other prefixes than before. Where only some were added nothing is missed; else the server forgets what it
/// was about to tell, so anything may have changed. Without prefixes the server would track every key, so nothing is
/// tracked then.
async fn track(
    connection: &mut MultiplexedConnection,
    changes: &Changes,
    tracked: &[String],
    wanted: &[String],
) -> Result<(), StoreError> {
    let mut pipeline = ::redis::pipe();
    let adds = tracked.iter().all(|prefix| wanted.contains(prefix));
    if !adds {
        changes.lost();
        pipeline.cmd("CLIENT").arg("TRACKING").arg("OFF");
    }
    let new: Vec<&String> = wanted.iter().filter(|prefix| !adds || !tracked.contains(prefix)).collect();
    if !new.is_empty() {
        pipeline.cmd("CLIENT").arg("TRACKING").arg("ON").arg("BCAST").arg("NOLOOP");
        for prefix in new {
            pipeline.arg("PREFIX").arg(prefix);
        }
    }
    let asked = Instant::now();
    pipeline.exec_async(connection).await.map_err(|error| reply::error(&error))?;
    changes.hear(wanted.to_vec());
    changes.alive(asked);
    Ok(())
}

/// At most `max` prefixes under which all streams lie. None of them begins with another, which the server would refuse.
fn prefixes(mut streams: Vec<String>, max: usize) -> Vec<String> {
    let outermost = |prefixes: &mut Vec<String>| {
        prefixes.sort_unstable();
        prefixes.dedup_by(|next, kept| next.starts_with(kept.as_str()));
    };
    outermost(&mut streams);
    if streams.len() <= max {
        return streams;
    }
    // Of neighbours in order, those are kept apart that have the least in common.
    let shared = |(at, pair): (usize, &[String])| match pair {
        [a, b] => (common_prefix(a, b).len(), at + 1),
        _ => (0, at + 1),
    };
    let mut cuts: Vec<(usize, usize)> = streams.windows(2).enumerate().map(shared).collect();
    cuts.sort_unstable();
    let mut begins: Vec<usize> = cuts.iter().take(max.saturating_sub(1)).map(|(_, at)| *at).chain([0]).collect();
    begins.sort_unstable();
    let ends = begins.iter().copied().skip(1).chain([streams.len()]);
    let group = |(begin, end): (usize, usize)| {
        let group = streams.get(begin..end)?;
        Some(common_prefix(group.first()?, group.last()?).to_owned())
    };
    let mut found: Vec<String> = begins.iter().copied().zip(ends).filter_map(group).collect();
    outermost(&mut found);
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn prefixes_cover_all_streams_and_do_not_overlap(streams in prop::collection::vec("[ab:é]{1,6}", 0..40), max in 1usize..8) {
            let found = prefixes(streams.clone(), max);
            prop_assert!(found.len() <= max);
            for stream in &streams {
                prop_assert!(found.iter().any(|prefix| stream.starts_with(prefix.as_str())));
            }
            for (i, a) in found.iter().enumerate() {
                for (j, b) in found.iter().enumerate() {
                    prop_assert!(i == j || !a.starts_with(b.as_str()));
                }
            }
        }
    }
}
