//! Subscriptions: one connection over which the server pushes what is published to channels.
//!
//! It is opened when somebody listens and closed when nobody does. What all listeners together listen to is
//! subscribed to once; after a lost connection all of it again. What is published in between is not heard, and
//! listeners learn that.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::{ConnectionLike, MultiplexedConnection};
use ::redis::{PushInfo, PushKind, Value};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::super::StoreError;
use super::super::embedded::glob;
use super::super::pubsub::{Subject, Subscriber, Subscribers, Subscription};
use super::connector::{Backoff, Connector};
use super::reply;
use sandbar_core::pattern::escape_glob;

/// How often the connection is asked whether it is alive.
const PING_INTERVAL: Duration = Duration::from_millis(500);
/// How long the answer to that may take.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// How often what the server has refused is asked for again.
const REFUSED_INTERVAL: Duration = Duration::from_secs(5);
/// Subscriptions in one write.
const SUBJECTS_MAX: usize = 500;

/// All subscriptions of a store.
#[derive(Debug)]
pub(super) struct Subscriptions {
    connector: Arc<Connector>,
    listeners: Subscribers,
    /// The one pattern that the server allows a tenant who is confined to its prefix, in place of all others.
    below: Option<Arc<str>>,
    /// Begins with the first listener.
    task: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl Subscriptions {
    pub(super) fn new(connector: Arc<Connector>) -> Self {
        Self { connector, listeners: Subscribers::default(), below: None, task: Mutex::default() }
    }

    /// Those of a tenant who is confined to a prefix.
    pub(super) fn below(connector: Arc<Connector>, prefix: &str) -> Self {
        let below = format!("{}*", escape_glob(prefix));
        Self { below: Some(below.into()), ..Self::new(connector) }
    }

    pub(super) fn add(&self, subject: Subject, listener: Arc<dyn Subscriber>) -> Subscription {
        let subscription = self.listeners.add(subject, listener);
        self.task.lock().get_or_insert_with(|| {
            let (connector, listeners) = (self.connector.clone(), self.listeners.clone());
            AbortOnDropHandle::new(tokio::spawn(listen(connector, listeners, self.below.clone())))
        });
        subscription
    }
}

async fn listen(connector: Arc<Connector>, listeners: Subscribers, below: Option<Arc<str>>) {
    let mut backoff = Backoff::default();
    loop {
        while listeners.subjects().is_empty() {
            listeners.changed().await;
        }
        let lost = Arc::new(Notify::new());
        let pushes = {
            let (listeners, lost, below) = (listeners.clone(), lost.clone(), below.clone());
            move |push: PushInfo| {
                on_push(push, &listeners, &lost, below.as_deref());
                Ok::<(), std::convert::Infallible>(())
            }
        };
        let served = match connector.connect_with_pushes(pushes).await {
            Ok(connection) => {
                backoff = Backoff::default();
                let served = serve(connection, &listeners, &lost, below.as_deref()).await;
                if served.is_err() {
                    // Messages may come again before any other connection is found lost, and what they write needs
                    // one that is not.
                    connector.lost();
                }
                served
            }
            Err(error) => Err(error),
        };
        listeners.deaf();
        if let Err(error) = served {
            tracing::debug!(%error, "channels are not heard at the moment");
            backoff.pause().await;
        }
    }
}

fn on_push(push: PushInfo, listeners: &Subscribers, lost: &Notify, below: Option<&str>) {
    let text = |value: Value| match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Value::SimpleString(text) => Some(text),
        _ => None,
    };
    let mut parts = push.data.into_iter();
    let mut next = || parts.next();
    let found = match push.kind {
        PushKind::Disconnection => return lost.notify_one(),
        PushKind::Message => next().and_then(text).map(|channel| (Subject::Channel(channel.clone()), channel)),
        PushKind::SMessage => next().and_then(text).map(|channel| (Subject::Sharded(channel.clone()), channel)),
        PushKind::PMessage => {
            let pattern = next().and_then(text);
            pattern.zip(next().and_then(text)).map(|(pattern, channel)| (Subject::Pattern(pattern), channel))
        }
        _ => None,
    };
    if let (Some((subject, channel)), Some(Value::BulkString(payload))) = (found, next()) {
        let payload = Bytes::from(payload);
        match subject {
            Subject::Pattern(all) if below == Some(&all) => {
                let is_meant = |subject: &Subject| match subject {
                    Subject::Pattern(pattern) => glob::matches(pattern.as_bytes(), channel.as_bytes()),
                    Subject::Channel(_) | Subject::Sharded(_) => false,
                };
                listeners.deliver_to(is_meant, &channel, &payload);
            }
            subject => listeners.deliver(&subject, &channel, &payload),
        }
    }
}

/// Keeps the connection subscribed to what is listened to, until it fails or nobody listens.
async fn serve(
    mut connection: MultiplexedConnection,
    listeners: &Subscribers,
    lost: &Notify,
    below: Option<&str>,
) -> Result<(), StoreError> {
    let is_pattern = |subject: &Subject| matches!(subject, Subject::Pattern(_));
    let (mut subscribed, mut refused) = (HashSet::new(), HashSet::new());
    let mut refused_at = Instant::now();
    loop {
        let wanted = listeners.subjects();
        if wanted.is_empty() {
            return Ok(());
        }
        if refused_at.elapsed() >= REFUSED_INTERVAL {
            refused.clear();
            refused_at = Instant::now();
        }
        let gone: Vec<Subject> = subscribed.difference(&wanted).cloned().collect();
        let new: Vec<Subject> =
            wanted.difference(&subscribed).filter(|subject| !refused.contains(*subject)).cloned().collect();
        // One pattern may stand for many: it goes with the last of them.
        let keeps = |subject: &Subject| below.is_some() && is_pattern(subject) && wanted.iter().any(is_pattern);
        for part in gone.chunks(SUBJECTS_MAX) {
            let part: Vec<Subject> = part.to_vec();
            let off: Vec<Subject> = part.iter().filter(|subject| !keeps(subject)).cloned().collect();
            ask(&mut connection, &off, below, Direction::Off).await?;
            for subject in &part {
                listeners.heard(subject, false);
                subscribed.remove(subject);
            }
        }
        for part in new.chunks(SUBJECTS_MAX) {
            let answers = ask(&mut connection, part, below, Direction::On).await?;
            for (subject, answer) in part.iter().zip(answers) {
                match answer {
                    Value::ServerError(error) => {
                        let error = reply::server_error(&error, "the channel");
                        tracing::warn!(?subject, %error, "the server refused a subscription");
                        refused.insert(subject.clone());
                    }
                    _ => {
                        subscribed.insert(subject.clone());
                        listeners.heard(subject, true);
                    }
                }
            }
        }
        tokio::select! {
            () = listeners.changed() => {}
            () = lost.notified() => return Err(StoreError::Unavailable("connection closed".to_owned())),
            () = tokio::time::sleep(PING_INTERVAL) => {
                let ping = ::redis::cmd("PING");
                let answer = tokio::time::timeout(PING_TIMEOUT, ping.query_async::<()>(&mut connection)).await;
                answer.map_err(|_| StoreError::TimedOut("PING".to_owned()))?.map_err(|error| reply::error(&error))?;
            }
        }
    }
}

/// Whether to begin or to end.
#[derive(Debug, Clone, Copy)]
enum Direction {
    On,
    Off,
}

/// Begins or ends subscriptions; one answer for each. `below` is asked for in place of each pattern.
async fn ask(
    connection: &mut MultiplexedConnection,
    subjects: &[Subject],
    below: Option<&str>,
    direction: Direction,
) -> Result<Vec<Value>, StoreError> {
    if subjects.is_empty() {
        return Ok(Vec::new());
    }
    let mut pipeline = ::redis::pipe();
    for subject in subjects {
        let (name, command) = match (subject, direction) {
            (Subject::Channel(name), Direction::On) => (name, "SUBSCRIBE"),
            (Subject::Channel(name), Direction::Off) => (name, "UNSUBSCRIBE"),
            (Subject::Pattern(name), Direction::On) => (name, "PSUBSCRIBE"),
            (Subject::Pattern(name), Direction::Off) => (name, "PUNSUBSCRIBE"),
            (Subject::Sharded(name), Direction::On) => (name, "SSUBSCRIBE"),
            (Subject::Sharded(name), Direction::Off) => (name, "SUNSUBSCRIBE"),
        };
        let is_pattern = matches!(subject, Subject::Pattern(_));
        pipeline.cmd(command).arg(below.filter(|_| is_pattern).unwrap_or(name));
    }
    let answers = connection.req_packed_commands(&pipeline, 0, pipeline.len()).await;
    answers.map_err(|error| reply::error(&error))
}
