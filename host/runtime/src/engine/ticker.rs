//! The clock of the engine: after how long running code is interrupted, to look at its deadline and to let others run.
//!
//! Time is counted in ticks of [`TICK`]. In front code keeps its thread for several of them, which are counted at once; behind it keeps it for
//! one, but for its first slice after it was moved there or had not run for long. Only while somebody runs there are they counted one by one: a
//! thread that wakes thousands of times a second is not for a host at rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wasmtime::{Engine, EngineWeak};

use sandbar_core::priority::Priority;

/// For how long code that runs behind keeps its thread. Whoever is woken on a core where others are before him waits for about as long,
/// although the next core runs only what gives way: measured, the p99 of a quiet tenant beside a loop is 2.7 ms with 2 ms, 1.2 ms with 0.5 ms,
/// and 0.9 ms, as without the loop, with a fifth of a millisecond.
const TICK: Duration = Duration::from_micros(250);
/// For how many ticks code that runs in front keeps it.
const TICKS_IN_FRONT: u32 = 8;
/// Ticks for which they are counted one by one after somebody ran behind.
const FINE_TICKS: u32 = 400;

/// Advances the epoch from a thread of its own until the engine is gone; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ticker {
    /// Somebody has begun to run behind since the last tick.
    is_fine: Arc<AtomicBool>,
}

impl Ticker {
    pub(super) fn start(engine: &Engine) -> Self {
        let ticker = Self::default();
        let (engine, is_fine) = (engine.weak(), ticker.is_fine.clone());
        std::thread::spawn(move || tick(&engine, &is_fine));
        ticker
    }

    /// For how many ticks code in this priority keeps its thread.
    pub(crate) fn slice(&self, priority: Priority) -> u64 {
        match priority {
            Priority::Foreground => u64::from(TICKS_IN_FRONT),
            Priority::Background => {
                self.is_fine.store(true, Ordering::Relaxed);
                1
            }
        }
    }
}

fn tick(engine: &EngineWeak, is_fine: &AtomicBool) {
    let mut fine = 0u32;
    loop {
        if is_fine.swap(false, Ordering::Relaxed) {
            fine = FINE_TICKS;
        }
        let ticks = if fine > 0 { 1 } else { TICKS_IN_FRONT };
        std::thread::sleep(TICK * ticks);
        fine = fine.saturating_sub(1);
        let Some(engine) = engine.upgrade() else { return };
        (0..ticks).for_each(|_| engine.increment_epoch());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// For how long a loop keeps its thread, several times, the shortest first.
    fn kept(engine: &Engine, ticker: &Ticker, priority: Priority) -> Vec<Duration> {
        let module = wat::parse_str(r#"(module (func (export "f") (loop (br 0))))"#).unwrap();
        let module = wasmtime::Module::new(engine, module).unwrap();
        let mut store = wasmtime::Store::new(engine, ());
        store.epoch_deadline_trap();
        let instance = wasmtime::Instance::new(&mut store, &module, &[]).unwrap();
        let looping = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
        let mut times: Vec<Duration> = (0..21)
            .map(|_| {
                store.set_epoch_deadline(ticker.slice(priority));
                let begun = Instant::now();
                assert!(looping.call(&mut store, ()).is_err());
                begun.elapsed()
            })
            .collect();
        times.sort_unstable();
        times
    }

    #[test]
    fn what_runs_behind_keeps_its_thread_for_less() {
        let engine = Engine::new(wasmtime::Config::new().epoch_interruption(true)).unwrap();
        let ticker = Ticker::start(&engine);
        let (foreground, background) =
            (kept(&engine, &ticker, Priority::Foreground), kept(&engine, &ticker, Priority::Background));
        // A busy machine makes them longer, and only the very first one in front may be shorter than it should be.
        let (foreground, background) = (foreground[10], background[0]);
        assert!(background < foreground / 2, "{background:?} behind, {foreground:?} in front");
        assert!(foreground >= TICK * 3, "{foreground:?}: it is interrupted when its own time is over, not each tick");
    }
}
