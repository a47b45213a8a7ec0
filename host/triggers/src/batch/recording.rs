//! Tapes that are kept: what the handling of a batch read, in a stream beside the source.

use std::sync::atomic::{AtomicU64, Ordering};

use sandbar_runtime::guest::Identity;
use sandbar_store::{Effect, Field, Retention};
use sandbar_runtime::replay::Tape;

/// Tapes that are kept of one source, about.
pub const TAPES_MAX: u64 = 10_000;
/// Bytes that all tapes of a source take, about.
pub const TAPES_BYTES_MAX: u64 = 64 << 20;
/// Bytes of the longest tape that is kept, events included.
pub const TAPE_KEPT_BYTES_MAX: usize = 4 << 20;
/// The name under which a tape stands in its entry.
pub const TAPE_FIELD: &str = "tape";

/// The stream that tapes of a source are kept in.
pub fn tapes_key(prefix: &str, plugin: &str, source: &str) -> String {
    format!("{prefix}sandbar:tape:{plugin}:{source}")
}

/// Keeps the tapes of one trigger.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    /// What a tape takes on average, lately.
    average_bytes: AtomicU64,
}

impl Recording {
    /// What keeps a tape, as part of the commit of its events; none where it is too long.
    pub(super) fn keep(&self, identity: &Identity, tape: &Tape) -> Option<Effect> {
        let text = serde_json::to_string(tape).ok().filter(|text| text.len() <= TAPE_KEPT_BYTES_MAX);
        let Some(text) = text else {
            let (tenant, plugin) = (identity.tenant.clone(), identity.plugin.clone());
            metrics::counter!("sandbar_tapes_left_out_total", "tenant" => tenant, "plugin" => plugin).increment(1);
            return None;
        };
        let stream = tapes_key(&identity.prefix, &identity.plugin, &tape.source);
        let retention = Retention::About(self.room(text.len() as u64));
        let fields = vec![Field::new("version", identity.version.clone()), Field::new(TAPE_FIELD, text)];
        Some(Effect::Append { stream, fields, retention })
    }

    /// How many tapes stay where they are like those of late.
    fn room(&self, bytes: u64) -> u64 {
        let before = self.average_bytes.load(Ordering::Relaxed);
        // Rises at once, so that a few long tapes among many short ones do not take more than their share.
        let average = if bytes > before { bytes } else { (before * 63 + bytes) / 64 };
        self.average_bytes.store(average, Ordering::Relaxed);
        (TAPES_BYTES_MAX / average.max(1)).clamp(1, TAPES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tapes_are_bounded_in_number_and_bytes() {
        let recording = Recording::default();
        assert_eq!(recording.room(100), TAPES_MAX);
        assert_eq!(recording.room(1 << 20), 64);
        (0..10_000).for_each(|_| assert!(recording.room(100) > 0));
        assert_eq!(recording.room(100), TAPES_MAX, "long ones are forgotten");
    }
}
