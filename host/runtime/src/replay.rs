//! Recordings of calls, and what runs over them: dry runs.
//!
//! A recording has the events of one call and what it read. A dry run has a version handle them again without any
//! effect.

mod answer;
mod difference;
pub mod dry_run;
mod recorder;
mod recording;
mod shown;
mod slot;

pub use answer::{Recordable, RecordableError, RecordedError, RecordedResponse};
pub use recorder::{PendingAnswer, Recorder};
pub use recording::{RECORDING_BYTES_MAX, RecordedAnswer, RecordedContent, RecordedEvent, RecordedRead, Recording};
pub use shown::{effect, fields};
pub use slot::{RecordedMonotonicClock, RecordedRandom, RecordedWallClock, RecorderSlot};
