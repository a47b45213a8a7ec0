//! What the parts do together. What Redis answers alike is tested by the conformance suite, against both stores.

mod commits;
mod deliveries;
mod exactly_once;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::FutureExt;

use super::*;
use crate::{
    Batch, Commit, CommitError, Committed, Condition, Consumer, Delivery, Effect, EntryId, Expiry, Field, GroupStart,
    Retention, Settlement, Source,
};

const STREAM: &str = "events";
const FIRST: EntryId = EntryId { ms: 1_000, seq: 0 };
const SECOND: EntryId = EntryId { ms: 1_000, seq: 1 };

/// The answer of a call: the embedded store never waits.
fn now<T>(call: impl Future<Output = T>) -> T {
    call.now_or_never().expect("an embedded store answers at once")
}

/// A store with a clock of its own, and one group that reads the stream from its beginning.
struct Fixture {
    store: Embedded,
    clock: Arc<AtomicU64>,
    source: Arc<Source>,
}

impl Fixture {
    fn new() -> Self {
        let clock = Arc::new(AtomicU64::new(1_000));
        let store = Embedded::with_clock({
            let clock = Arc::clone(&clock);
            move || clock.load(Ordering::Relaxed)
        });
        let source = Arc::new(Source::new("", STREAM, "group", 3, 500));
        now(store.open(&source, GroupStart::After(EntryId::ZERO))).unwrap();
        Self { store, clock, source }
    }

    /// A consumer that has joined.
    fn consumer(&self, name: &str) -> Consumer {
        let consumer = Consumer::new(Arc::clone(&self.source), name.to_owned());
        now(self.store.join(&consumer)).unwrap();
        consumer
    }

    fn advance(&self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
    }

    fn append(&self, count: usize) {
        let append = |_| append(STREAM, "1");
        self.apply(&(0..count).map(append).collect::<Vec<_>>());
    }

    /// Makes a commit outside of a delivery, of which nothing may be refused.
    fn apply(&self, effects: &[Effect]) {
        let made = self.commit(None, effects, Settlement::default());
        assert_eq!(made, Ok(Committed::default()));
    }

    fn commit(
        &self,
        by: Option<(&Consumer, &Batch)>,
        effects: &[Effect],
        settlement: Settlement,
    ) -> Result<Committed, CommitError> {
        let consumer = by.map(|(consumer, batch)| (consumer, batch.epoch.unwrap()));
        now(self.store.commit(Commit { consumer, watched: &[], effects, settlement, leases: &[], atomic: true }))
    }

    fn pending(&self) -> u64 {
        now(self.store.backlog(&self.source)).unwrap().pending
    }
}

fn append(stream: &str, value: &'static str) -> Effect {
    Effect::Append { stream: stream.to_owned(), fields: vec![Field::new("n", value)], retention: Retention::Unlimited }
}

fn set(key: &str, value: &'static str) -> Effect {
    let value = Bytes::from(value);
    Effect::Set { key: key.to_owned(), value, expiry: Expiry::Never, condition: Condition::Always }
}

fn ids(batch: &Batch) -> Vec<EntryId> {
    batch.events.iter().map(|event| event.id).collect()
}

fn done(batch: &Batch) -> Settlement {
    Settlement { done: ids(batch), ..Settlement::default() }
}

fn retry(batch: &Batch, delay_ms: u64) -> Settlement {
    Settlement { retry: ids(batch).into_iter().map(|id| (id, delay_ms)).collect(), ..Settlement::default() }
}
