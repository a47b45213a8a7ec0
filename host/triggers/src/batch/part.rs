//! A part of a batch, and its halves.

use super::recorded::Recorded;
use sandbar_runtime::outcome::EventOutcome;

/// A part of a batch that is still to be handled.
#[derive(Debug)]
pub(crate) struct Part<E> {
    pub(super) events: Vec<E>,
    /// What has become of them, where the plugin is not to handle them (again) in this delivery.
    pub(super) outcome: Option<EventOutcome>,
    /// What the plugin read when it handled them last, where that is recorded.
    pub(super) recorded: Option<Recorded>,
}

impl<E> Part<E> {
    /// Events that are to be handled together.
    pub(crate) fn new(events: Vec<E>) -> Self {
        Self { events, outcome: None, recorded: None }
    }

    /// An event that is given up without being handled.
    pub(crate) fn doomed(event: E, reason: String) -> Self {
        Self { events: vec![event], outcome: Some(EventOutcome::Reject(reason)), recorded: None }
    }

    /// Its events.
    #[cfg(test)]
    pub(crate) fn events(&self) -> &[E] {
        &self.events
    }

    /// Whether the plugin is not to handle it.
    #[cfg(test)]
    pub(crate) fn is_given_up(&self) -> bool {
        self.outcome.is_some()
    }
}

/// Halves a part that failed, until the event at fault is alone.
pub(super) fn split<E>(mut part: Part<E>, fault: String, parts: &mut Vec<Part<E>>) {
    if part.events.len() > 1 {
        let second = part.events.split_off(part.events.len() / 2);
        parts.push(Part::new(second));
        parts.push(part);
    } else {
        parts.push(Part { outcome: Some(EventOutcome::Failed(fault)), ..part });
    }
}
