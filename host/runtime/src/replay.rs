//! Recordings of calls, and what runs over them: dry runs.
//!
//! A recording has the events of one call and what it read. A dry run has a version handle them again without any effect.

mod answer;
mod difference;
pub mod dry_run;
mod recorder;
mod recording;
mod shown;
mod slot;

pub use answer::{Answer, Fails, Fault, Head};
pub use recorder::{Reel, Slot};
pub use recording::{Read, TAPE_BYTES_MAX, Tape, TapedContent, TapedEvent, Told};
pub use shown::{Outcome, effect, fields};
pub use slot::{Chance, Deck, Monotonic, Wall};
