//! Recordings that are kept: what the handling of a batch read, in a stream beside the source.

use std::sync::atomic::{AtomicU64, Ordering};

use sandbar_runtime::context::PluginContext;
use sandbar_runtime::replay::Recording;
use sandbar_store::{Effect, Field, Retention};

/// Recordings that are kept of one source, about.
pub const RECORDINGS_MAX: u64 = 10_000;
/// Bytes that all recordings of a source take, about.
pub const RECORDINGS_BYTES_MAX: u64 = 64 << 20;
/// Bytes of the longest recording that is kept, events included.
pub const RECORDING_KEPT_BYTES_MAX: usize = 4 << 20;
/// The name under which a recording stands in its entry.
pub const RECORDING_FIELD: &str = "tape";

/// The stream that recordings of a source are kept in.
pub fn recordings_key(prefix: &str, plugin: &str, source: &str) -> String {
    format!("{prefix}sandbar:tape:{plugin}:{source}")
}

/// Keeps the recordings of one trigger.
#[derive(Debug, Default)]
pub(crate) struct RecordingWriter {
    /// What a recording takes on average, lately.
    average_bytes: AtomicU64,
}

impl RecordingWriter {
    /// What keeps a recording, as part of the commit of its events; none where it is too long.
    pub(super) fn keep(&self, context: &PluginContext, recording: &Recording) -> Option<Effect> {
        let text = serde_json::to_string(recording).ok().filter(|text| text.len() <= RECORDING_KEPT_BYTES_MAX);
        let Some(text) = text else {
            let (tenant, plugin) = (context.tenant.clone(), context.plugin.clone());
            metrics::counter!("sandbar_recordings_skipped_total", "tenant" => tenant, "plugin" => plugin).increment(1);
            return None;
        };
        let stream = recordings_key(&context.prefix, &context.plugin, &recording.source);
        let retention = Retention::About(self.room(text.len() as u64));
        let fields = vec![Field::new("version", context.version.clone()), Field::new(RECORDING_FIELD, text)];
        Some(Effect::Append { stream, fields, retention })
    }

    /// How many recordings stay where they are like those of late.
    fn room(&self, bytes: u64) -> u64 {
        let before = self.average_bytes.load(Ordering::Relaxed);
        // Rises at once, so that a few long recordings among many short ones do not take more than their share.
        let average = if bytes > before { bytes } else { (before * 63 + bytes) / 64 };
        self.average_bytes.store(average, Ordering::Relaxed);
        (RECORDINGS_BYTES_MAX / average.max(1)).clamp(1, RECORDINGS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_are_bounded_in_number_and_bytes() {
        let recording = RecordingWriter::default();
        assert_eq!(recording.room(100), RECORDINGS_MAX);
        assert_eq!(recording.room(1 << 20), 64);
        (0..10_000).for_each(|_| assert!(recording.room(100) > 0));
        assert_eq!(recording.room(100), RECORDINGS_MAX, "long ones are forgotten");
    }
}
