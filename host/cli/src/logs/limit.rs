//! A bound on log lines: repeated lines are dropped and counted.
//!
//! Each place in the host's code may write [`HOST_LINES`] lines within [`PERIOD`], each plugin [`PLUGIN_LINES`]. The
//! first line of the next period is preceded by the number of dropped lines.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// How long lines are counted together.
const PERIOD: Duration = Duration::from_secs(10);
/// Lines of one place in the host's code, for one plugin.
const HOST_LINES: u64 = 10;
/// Lines that one plugin writes itself.
const PLUGIN_LINES: u64 = 1000;
/// Places that are counted at one time; beyond that all are counted anew.
const PLACES_MAX: usize = 4096;
/// The target of what plugins write themselves.
const PLUGIN_TARGET: &str = "plugin";

/// Says how many lines were dropped; the line that they are like follows.
type Tell = Box<dyn Fn(u64) + Send + Sync>;

/// Lets through what is within the bound.
pub(super) struct Limit {
    windows: Mutex<HashMap<u64, Window>>,
    tell: Tell,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    lines: u64,
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is written, after the number of lines that were dropped.
    Written(u64),
    Dropped,
}

impl Limit {
    pub(super) fn new(tell: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self { windows: Mutex::default(), tell: Box::new(tell) }
    }

    fn judge(&self, place: u64, max: u64, now: Instant) -> Fate {
        let mut windows = self.windows.lock();
        if windows.len() >= PLACES_MAX && !windows.contains_key(&place) {
            windows.clear();
        }
        let window = windows.entry(place).or_insert(Window { began: now, lines: 0 });
        let mut skipped = 0;
        if now.duration_since(window.began) >= PERIOD {
            skipped = window.lines.saturating_sub(max);
            *window = Window { began: now, lines: 0 };
        }
        window.lines += 1;
        if window.lines <= max { Fate::Written(skipped) } else { Fate::Dropped }
    }
}

impl<S: Subscriber> Filter<S> for Limit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let own = event.metadata().target() == PLUGIN_TARGET;
        let mut place = LineKey(DefaultHasher::new());
        if !own {
            event.metadata().callsite().hash(&mut place.0);
        }
        event.record(&mut place);
        match self.judge(place.0.finish(), if own { PLUGIN_LINES } else { HOST_LINES }, Instant::now()) {
            Fate::Dropped => false,
            Fate::Written(skipped) => {
                if skipped > 0 {
                    (self.tell)(skipped);
                }
                true
            }
        }
    }
}

/// Tells lines apart by the plugin that they are about.
struct LineKey(DefaultHasher);

impl Visit for LineKey {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "plugin" {
            value.hash(&mut self.0);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn repeated_lines_are_dropped_and_counted() {
        let limit = Limit::new(|_| ());
        let start = Instant::now();
        let written = (0..25).filter(|_| limit.judge(1, 10, start) != Fate::Dropped).count();
        assert_eq!(written, 10);
        assert_eq!(limit.judge(2, 10, start), Fate::Written(0), "another place has its own bound");
        assert_eq!(limit.judge(1, 10, start + PERIOD), Fate::Written(15));
        assert_eq!(limit.judge(1, 10, start + PERIOD), Fate::Written(0));
    }

    #[test]
    fn memory_is_bounded() {
        let limit = Limit::new(|_| ());
        for place in 0..3 * PLACES_MAX as u64 {
            limit.judge(place, 1, Instant::now());
        }
        assert!(limit.windows.lock().len() <= PLACES_MAX);
    }

    /// Counts what is written.
    struct Count(Arc<AtomicU64>);

    impl<S: Subscriber> Layer<S> for Count {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_plugin_has_its_own_bound() {
        let lines = Arc::new(AtomicU64::new(0));
        let layer = Count(lines.clone()).with_filter(Limit::new(|_| ()));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for _ in 0..100 {
                for plugin in ["a", "b"] {
                    tracing::warn!(plugin, event = 1, "an event goes to the dead letters");
                }
            }
            assert_eq!(lines.swap(0, Ordering::Relaxed), 2 * HOST_LINES);
            for _ in 0..2 * PLUGIN_LINES {
                tracing::info!(target: PLUGIN_TARGET, plugin = "a", "{}", "text");
                tracing::warn!(target: PLUGIN_TARGET, plugin = "a", "{}", "text");
            }
            assert_eq!(lines.load(Ordering::Relaxed), PLUGIN_LINES);
        });
    }
}
