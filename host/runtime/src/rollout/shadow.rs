//! A version that gets the same batches as the active one, without effect.
//!
//! What the active version read is on the recording that comes with a batch, so the two see the same, whatever is
//! committed meanwhile. The shadow runs after the active version, which never waits for it: events that find no room
//! are skipped and counted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::context::PluginContext;
use crate::pool::Pool;
use crate::replay::Recording;
use crate::replay::dry_run::{Difference, DifferenceKind, Side, compare, dry_run};

/// Batches that wait for a shadow.
const WAITING_MAX: usize = 1024;
/// Bytes of the events and recordings that wait.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// Differences that are kept, the newest.
const SAMPLES_MAX: usize = 32;
/// Bytes of what one side of a sample shows; longer ones are cut.
const SAMPLE_BYTES_MAX: usize = 2048;
/// Ids of a batch that a sample names.
const SAMPLE_EVENTS_MAX: usize = 10;

/// What a shadow did differently.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ShadowReport {
    /// The shadow's version: the SHA-256 of its component.
    pub version: String,
    /// Events that both versions handled.
    pub compared: u64,
    /// Events that the shadow did not get, because it was too slow or their recording was too long.
    #[serde(rename = "left-out")]
    pub skipped: u64,
    /// How often the two differed, by kind.
    pub differences: BTreeMap<DifferenceKind, u64>,
    /// The newest differences.
    pub samples: Vec<Sample>,
}

/// One difference with its events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Sample {
    /// Where the events came from.
    pub source: String,
    /// The event, or the first events of the batch.
    pub events: Vec<String>,
    /// How the two differed.
    pub kind: DifferenceKind,
    /// What the active version did, as JSON, cut.
    pub active: String,
    /// What the shadow would have done.
    pub shadow: String,
}

/// A shadow at work; dropped, it ends at once.
#[derive(Debug)]
pub(super) struct Shadow {
    queue: mpsc::Sender<Batch>,
    book: Arc<Book>,
    _worker: AbortOnDropHandle<()>,
}

/// What the active version did with a batch.
#[derive(Debug)]
struct Batch {
    recording: Recording,
    active: Side,
    bytes: usize,
}

#[derive(Debug)]
struct Book {
    context: Arc<PluginContext>,
    waiting_bytes: AtomicUsize,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    compared: u64,
    skipped: u64,
    differences: BTreeMap<DifferenceKind, u64>,
    samples: VecDeque<Sample>,
}

impl Shadow {
    /// Begins to compare. Needs a runtime.
    pub(super) fn begin(pool: Arc<Pool>) -> Self {
        let (queue, mut batches) = mpsc::channel::<Batch>(WAITING_MAX);
        let context = pool.context().clone();
        let book = Arc::new(Book { context, waiting_bytes: AtomicUsize::new(0), pages: Mutex::default() });
        let noted = book.clone();
        let work = async move {
            while let Some(batch) = batches.recv().await {
                noted.waiting_bytes.fetch_sub(batch.bytes, Ordering::Relaxed);
                noted.follow(&pool, &batch).await;
            }
        };
        Self { queue, book, _worker: AbortOnDropHandle::new(tokio::spawn(work)) }
    }

    /// Hands it what the active version has committed. Never waits.
    pub(super) fn offer(&self, recording: Recording, active: Side) {
        let (events, bytes) = (recording.events.len(), recording.bytes());
        let waiting = self.book.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = !recording.is_truncated && waiting.saturating_add(bytes) <= WAITING_BYTES_MAX;
        if !fits || self.queue.try_send(Batch { recording, active, bytes }).is_err() {
            self.book.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.book.leave_out(events);
        }
    }

    /// What it did differently so far.
    pub(super) fn report(&self) -> ShadowReport {
        let pages = self.book.pages.lock();
        ShadowReport {
            version: self.book.context.version.clone(),
            compared: pages.compared,
            skipped: pages.skipped,
            differences: pages.differences.clone(),
            samples: pages.samples.iter().cloned().collect(),
        }
    }
}

impl Book {
    async fn follow(&self, pool: &Pool, batch: &Batch) {
        let dry_run = match dry_run(pool, &batch.recording).await {
            Ok(dry_run) => dry_run,
            Err(error) => {
                tracing::debug!(plugin = self.context.plugin, %error, "a shadow got no instance");
                return self.leave_out(batch.recording.events.len());
            }
        };
        let mut differences = compare(&batch.active, &dry_run.side);
        if dry_run.unknown > 0 {
            let candidate = Value::from(dry_run.questions);
            differences.push(Difference {
                kind: DifferenceKind::OtherRead,
                event: None,
                active: Value::Null,
                candidate,
            });
        }
        self.count("sandbar_shadow_events_total", batch.recording.events.len() as u64);
        self.pages.lock().compared += batch.recording.events.len() as u64;
        for difference in differences {
            self.note(&batch.recording, &difference);
        }
    }

    fn note(&self, recording: &Recording, difference: &Difference) {
        let (tenant, plugin) = (self.context.tenant.clone(), self.context.plugin.clone());
        let kind = difference.kind;
        let labels = [("tenant", tenant), ("plugin", plugin), ("kind", kind.word().to_owned())];
        metrics::counter!("sandbar_shadow_differences_total", &labels).increment(1);
        let events = match difference.event {
            Some(at) => recording.events.get(at..=at).unwrap_or_default(),
            None => recording.events.get(..SAMPLE_EVENTS_MAX).unwrap_or(&recording.events),
        };
        let sample = Sample {
            source: recording.source.clone(),
            events: events.iter().map(|event| event.id.clone()).collect(),
            kind,
            active: cut(&difference.active),
            shadow: cut(&difference.candidate),
        };
        let mut pages = self.pages.lock();
        *pages.differences.entry(kind).or_default() += 1;
        if pages.samples.len() >= SAMPLES_MAX {
            pages.samples.pop_front();
        }
        pages.samples.push_back(sample);
    }

    fn leave_out(&self, events: usize) {
        self.pages.lock().skipped += events as u64;
        self.count("sandbar_shadow_skipped_total", events as u64);
    }

    fn count(&self, metric: &'static str, by: u64) {
        let (tenant, plugin) = (self.context.tenant.clone(), self.context.plugin.clone());
        metrics::counter!(metric, "tenant" => tenant, "plugin" => plugin).increment(by);
    }
}

fn cut(value: &Value) -> String {
    let mut text = value.to_string();
    text.truncate(text.floor_char_boundary(SAMPLE_BYTES_MAX));
    text
}
