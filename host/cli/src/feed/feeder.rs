//! Appends what a source gives to a stream, in order, in bounded commits.
//!
//! While one batch is being committed the next is read. Nothing is appended twice: where it is not known whether a
//! commit was made, the error says so, with the lines in question.

use std::time::{Duration, Instant};

use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::pace::Pace;
use super::source::{End, LineSource, Lines};
use sandbar_store::{Commit, CommitError, Effect, Retention, Store, StoreError};

/// How often it is looked whether the readers of the stream keep up, where that matters.
const LAG_PERIOD: Duration = Duration::from_millis(500);

/// Where entries go.
#[derive(Clone)]
pub(crate) struct Target {
    /// The store.
    pub(crate) store: std::sync::Arc<dyn Store>,
    /// The stream's key.
    pub(crate) stream: String,
    /// What the stream keeps.
    pub(crate) retention: Retention,
    /// Entries that some group has not acknowledged, above which the feed waits; none to never wait.
    pub(crate) unread_max: Option<u64>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// What has been appended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fed {
    /// Entries.
    pub(crate) events: u64,
    /// Bytes of their lines.
    pub(crate) bytes: u64,
    /// The line of the last of them.
    pub(crate) last_line: u64,
}

/// Why a feed ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FeedError {
    /// All was appended.
    Complete,
    /// It was stopped.
    Stopped,
    /// What comes next is malformed or cannot be read.
    Bad(String),
    /// The store refused the entries that came next; they were not appended.
    Refused(StoreError),
    /// It is not known whether the next entries, so many, were appended.
    Unknown(usize, StoreError),
}

/// Feeds until the source ends, the token is cancelled or something fails. Calls `on_commit` after each commit.
pub(crate) async fn feed(
    mut source: LineSource,
    target: &Target,
    rate: Option<u32>,
    stop: &CancellationToken,
    mut on_commit: impl FnMut(Fed),
) -> (Fed, FeedError) {
    let mut fed = Fed::default();
    let mut pace = Pace::new(rate, Instant::now());
    let mut looked = None;
    let stopped = stop.cancelled();
    tokio::pin!(stopped);
    let mut lines = tokio::select! {
        lines = source.read(pace.batch(Instant::now())) => lines,
        () = &mut stopped => return (fed, FeedError::Stopped),
    };
    loop {
        let due = pace.next(lines.entries.len(), Instant::now());
        let ready = async {
            target.wait_for_readers(&mut looked).await;
            sleep_until(due.into()).await;
        };
        tokio::select! {
            () = ready => {}
            () = &mut stopped => return (fed, FeedError::Stopped),
        }
        let (count, bytes, last_line, end) = (lines.entries.len(), lines.bytes, lines.last_line, lines.end.take());
        let more = async {
            if end.is_some() {
                return Lines::default();
            }
            tokio::select! {
                lines = source.read(pace.batch(Instant::now())) => lines,
                () = &mut stopped => Lines::default(),
            }
        };
        let (appended, following) = tokio::join!(target.append(lines.entries), more);
        if let Err(ended) = appended {
            return (fed, ended);
        }
        if count > 0 {
            fed = Fed { events: fed.events + count as u64, bytes: fed.bytes + bytes as u64, last_line };
            on_commit(fed);
        }
        match end {
            Some(End::Complete) => return (fed, FeedError::Complete),
            Some(End::Bad(reason)) => return (fed, FeedError::Bad(reason)),
            None if stop.is_cancelled() => return (fed, FeedError::Stopped),
            None => lines = following,
        }
    }
}

impl Target {
    async fn append(&self, entries: Vec<Vec<sandbar_store::Field>>) -> Result<(), FeedError> {
        let count = entries.len();
        if count == 0 {
            return Ok(());
        }
        let append = |fields| Effect::Append { stream: self.stream.clone(), fields, retention: self.retention };
        let effects: Vec<Effect> = entries.into_iter().map(append).collect();
        let commit = Commit::plain(&effects, &[]);
        let committed = self.store.commit(commit).await.map_err(|error| match error {
            CommitError::Unknown(error) => FeedError::Unknown(count, error),
            CommitError::Refused(error) | CommitError::Unacceptable(error) => FeedError::Refused(error),
            CommitError::Fenced | CommitError::Conflict(_) => {
                FeedError::Refused(StoreError::Refused(error.to_string()))
            }
        })?;
        match committed.refused.into_iter().next() {
            None => Ok(()),
            Some(refusal) => Err(FeedError::Refused(StoreError::WrongType(refusal.error))),
        }
    }

    /// Waits while some group of the stream is too far behind.
    async fn wait_for_readers(&self, looked: &mut Option<Instant>) {
        let Some(unread_max) = self.unread_max else { return };
        if looked.is_some_and(|time| time.elapsed() < LAG_PERIOD) {
            return;
        }
        // A store that does not answer will say so when the entries are appended.
        while let Ok(Some(info)) = self.store.info(&self.stream).await {
            let unread = info.groups.iter().map(|group| group.pending + group.lag.unwrap_or(0)).max().unwrap_or(0);
            if unread <= unread_max {
                break;
            }
            tokio::time::sleep(LAG_PERIOD).await;
        }
        *looked = Some(Instant::now());
    }
}
