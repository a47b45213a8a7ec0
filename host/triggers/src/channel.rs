//! The channel trigger: messages that are published, handled as they come. At most once, by nature.
//!
//! A message is gone that is published while the host does not listen, that finds no room in the buffer, or over
//! which the plugin fails: all of these but the first are counted. Effects are committed without an acknowledgement.
//! Every host of a fleet that runs the plugin gets every message.

mod mailbox;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::stream::WorkerEnd;
use mailbox::{Mailbox, Message};
use sandbar_core::manifest::ChannelTrigger;
use sandbar_runtime::bindings::exports::sandbar::plugin::handler::{Content, Event, Outcome};
use sandbar_runtime::call;
use sandbar_runtime::guest::{AnswerRefusal, commit};
use sandbar_runtime::pool::CallError;
use sandbar_runtime::rollout::{Chosen, Rollout};
use sandbar_runtime::telemetry::PluginMetrics;
use sandbar_store::{CommitError, Store, Subject};

/// How often a batch is run again because a key that it watched had changed, or because there was no instance for
/// it.
const RERUNS_MAX: u32 = 20;
/// How long a batch that got no instance waits.
const INSTANCE_PAUSE: Duration = Duration::from_millis(100);

/// The listener of one trigger, as a task.
#[derive(Debug)]
pub struct Worker {
    /// Where the channels are.
    pub store: Arc<dyn Store>,
    /// The tenant's.
    pub prefix: String,
    /// The trigger's part of the manifest.
    pub trigger: ChannelTrigger,
    /// The instances of the active version; replaced while messages come.
    pub rollout: Arc<Rollout>,
    /// The plugin's numbers.
    pub metrics: PluginMetrics,
}

/// Why messages are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DropReason {
    /// There was no room for them.
    Buffer,
    /// There were more of them than the plugin or its tenant may handle in a second.
    Rate,
    /// The plugin failed over them.
    Failed,
    /// The plugin's outcome was another than `done`.
    NotDone,
    /// Their effects were not committed, or that is not known.
    NotCommitted,
    /// The host ended before they could be handled.
    Shutdown,
}

impl DropReason {
    /// One word for metrics.
    fn reason(self) -> &'static str {
        match self {
            Self::Buffer => "buffer",
            Self::Rate => "rate",
            Self::Failed => "failed",
            Self::NotDone => "not-done",
            Self::NotCommitted => "not-committed",
            Self::Shutdown => "shutdown",
        }
    }
}

impl Worker {
    /// Handles messages until `stop`, then those that wait. `give_up` drops them. `ready` is true while messages are
    /// heard.
    pub async fn run(self, ready: Arc<AtomicBool>, stop: CancellationToken, give_up: CancellationToken) -> WorkerEnd {
        let (prefix, buffer) = (self.prefix.clone(), self.trigger.buffer);
        let dropped = self.metrics.dropped(DropReason::Buffer.reason());
        let mailbox = Arc::new(Mailbox::new(prefix, buffer, self.trigger.drop, dropped, ready));
        let subscription = self.store.subscribe(self.subject(), mailbox.clone());
        let work = async {
            while let Some(messages) = stop.run_until_cancelled(mailbox.next(self.trigger.batch)).await {
                self.handle(messages.into()).await;
            }
            drop(subscription);
            loop {
                let messages = mailbox.take(self.trigger.batch);
                if messages.is_empty() {
                    return WorkerEnd::Drained;
                }
                self.handle(messages.into()).await;
            }
        };
        match give_up.run_until_cancelled(work).await {
            Some(ended) => ended,
            None => {
                self.lost(DropReason::Shutdown, mailbox.len());
                WorkerEnd::Dropped(1)
            }
        }
    }

    /// What it listens to.
    fn subject(&self) -> Subject {
        let named = |name: &String| format!("{}{name}", self.prefix);
        match &self.trigger {
            ChannelTrigger { pattern: Some(pattern), .. } => Subject::pattern_below(&self.prefix, pattern),
            ChannelTrigger { sharded: Some(name), .. } => Subject::Sharded(named(name)),
            trigger => Subject::Channel(format!("{}{}", self.prefix, trigger.subject())),
        }
    }

    async fn handle(&self, messages: Arc<[Message]>) {
        let mut reruns = 0;
        let mut pool = self.rollout.choose();
        loop {
            if reruns == 0 && pool.try_admit(messages.len()).is_err() {
                return self.lost(DropReason::Rate, messages.len());
            }
            let begun = Instant::now();
            let done = match self.call(&pool, messages.clone()).await {
                Ok((outcomes, ended)) => {
                    let took = begun.elapsed();
                    self.metrics.handled(messages.len(), took);
                    pool.answered(messages.len(), took);
                    self.settle(&pool, &messages, &outcomes, ended).await
                }
                Err(error) if error.is_busy() && reruns < RERUNS_MAX => {
                    tokio::time::sleep(INSTANCE_PAUSE).await;
                    pool = self.rollout.choose();
                    Err(Again)
                }
                Err(error) => {
                    self.metrics.failed(error.kind());
                    tracing::warn!(plugin = pool.context().plugin, %error, messages = messages.len(), "messages are lost");
                    self.lost(DropReason::Failed, messages.len());
                    // One of them is at fault, whichever.
                    pool.settled(1, messages.first().map(named));
                    Ok(())
                }
            };
            match done {
                Ok(()) => return,
                Err(Again) if reruns < RERUNS_MAX => reruns += 1,
                Err(Again) => return self.lost(DropReason::NotCommitted, messages.len()),
            }
        }
    }

    /// Has the plugin handle messages.
    async fn call(
        &self,
        pool: &Chosen,
        messages: Arc<[Message]>,
    ) -> Result<(Vec<Outcome>, call::FinishedCall), CallError> {
        let (now_ms, version) = (self.store.now_ms(), pool.clone());
        let call = async move {
            let ids: Arc<[String]> = messages.iter().map(|message| message.number.to_string()).collect();
            let waited = |message: &Message| u64::try_from(message.came.elapsed().as_millis()).unwrap_or(u64::MAX);
            let events: Vec<Event<'_>> = messages
                .iter()
                .zip(ids.iter())
                .map(|(message, id)| Event {
                    id,
                    source: &message.channel,
                    attempt: 1,
                    time_ms: now_ms.saturating_sub(waited(message)),
                    content: Content::Payload(&message.payload),
                })
                .collect();
            version.handle(None, ids.clone(), &events, None).await.map_err(|failure| failure.error)
        };
        let answer = pool.context().quota.share().clone().place(call).await;
        answer.unwrap_or_else(|ended| Err(CallError::Trap(ended.to_string())))
    }

    /// Commits the writes for those messages that are done.
    async fn settle(
        &self,
        pool: &Chosen,
        messages: &[Message],
        outcomes: &[Outcome],
        mut ended: call::FinishedCall,
    ) -> Result<(), Again> {
        let is_done = |at: usize| matches!(outcomes.get(at), Some(Outcome::Done));
        let done = (0..messages.len()).filter(|at| is_done(*at)).count();
        ended.writes.retain(|write| match write.event {
            None => done > 0,
            Some(event) => usize::try_from(event).is_ok_and(is_done),
        });
        match commit(pool.context(), ended).await {
            Ok(took) => self.metrics.committed(done, took.unwrap_or_default()),
            // It is logged. The other writes stand, and a message cannot be given back.
            Err(AnswerRefusal::WriteRefused(_)) => self.metrics.committed(done, Duration::ZERO),
            Err(AnswerRefusal::NotCommitted(CommitError::Conflict(_))) => {
                self.metrics.commit_lost("conflict");
                return Err(Again);
            }
            Err(refusal) => {
                tracing::warn!(plugin = pool.context().plugin, ?refusal, messages = done, "messages are lost");
                self.metrics.commit_lost("refused");
                self.lost(DropReason::NotCommitted, done);
                return Ok(());
            }
        }
        let others = messages.iter().enumerate().filter(|(at, _)| !is_done(*at));
        pool.settled(messages.len(), others.map(|(_, message)| named(message)));
        self.metrics.latencies(messages.iter().map(|message| message.came.elapsed()));
        if done < messages.len() {
            let (plugin, lost) = (&pool.context().plugin, messages.len() - done);
            tracing::warn!(plugin, messages = lost, "messages were not handled, and are not handled again");
            self.lost(DropReason::NotDone, lost);
        }
        Ok(())
    }

    fn lost(&self, why: DropReason, messages: usize) {
        if messages > 0 {
            self.metrics.dropped(why.reason()).increment(messages as u64);
        }
    }
}

/// The name of a message in logs and samples.
fn named(message: &Message) -> String {
    format!("{} {}", message.channel, message.number)
}

/// Nothing was written: the batch is run again.
struct Again;
