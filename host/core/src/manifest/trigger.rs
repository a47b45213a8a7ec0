//! The kinds of triggers.

use serde::Deserialize;

use super::{ChannelTrigger, HttpTrigger, ManifestError, QueueTrigger, ScheduleTrigger, StreamTrigger};

/// What a stream, queue or channel trigger calls.
pub const HANDLER: &str = "sandbar:plugin/handler@0.1.0";
/// What a schedule trigger calls.
pub const SCHEDULE: &str = "sandbar:plugin/schedule@0.1.0";
/// What an HTTP trigger calls.
pub const INCOMING: &str = "wasi:http/incoming-handler@0.2.0";

/// What makes a plugin run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Trigger {
    /// Entries of a stream.
    Stream(StreamTrigger),
    /// Jobs of a queue.
    Queue(QueueTrigger),
    /// Messages of a channel.
    Channel(ChannelTrigger),
    /// Points in time.
    Schedule(ScheduleTrigger),
    /// Requests below a route.
    Http(HttpTrigger),
}

impl Trigger {
    /// Its `type` in the manifest.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Stream(_) => "stream",
            Self::Queue(_) => "queue",
            Self::Channel(_) => "channel",
            Self::Schedule(_) => "schedule",
            Self::Http(_) => "http",
        }
    }

    /// What it is about: the stream, the queue, the channel, the name of the schedule, the route.
    pub fn subject(&self) -> &str {
        match self {
            Self::Stream(trigger) => &trigger.stream,
            Self::Queue(trigger) => &trigger.queue,
            Self::Channel(trigger) => trigger.subject(),
            Self::Schedule(trigger) => &trigger.name,
            Self::Http(trigger) => &trigger.route,
        }
    }

    /// The interface that the component must export for it.
    pub fn export(&self) -> &'static str {
        match self {
            Self::Stream(_) | Self::Queue(_) | Self::Channel(_) => HANDLER,
            Self::Schedule(_) => SCHEDULE,
            Self::Http(_) => INCOMING,
        }
    }

    pub(super) fn check(&self) -> Result<(), ManifestError> {
        match self {
            Self::Stream(trigger) => trigger.check(),
            Self::Queue(trigger) => trigger.check(),
            Self::Channel(trigger) => trigger.check(),
            Self::Schedule(trigger) => trigger.check(),
            Self::Http(trigger) => trigger.check(),
        }
    }
}
