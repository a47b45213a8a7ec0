//! The clock of the engine: how long code runs until it is interrupted, to check its deadline and to let other code
//! run.
//!
//! Time is counted in ticks of [`TICK`]. Foreground code keeps its thread for several ticks, which are counted at
//! once. Background code keeps it for one tick, except for its first slice. Ticks are counted one by one only while
//! background code runs: a thread that wakes thousands of times a second costs an idle host too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wasmtime::{Engine, EngineWeak};

use sandbar_core::priority::Priority;

/// How long background code keeps its thread. A thread that becomes runnable on the same core waits for about as
/// long, although another core runs only background threads. Measured, the p99 of a quiet tenant beside a loop is 2.7
/// ms with slices of 2 ms, 1.2 ms with 0.5 ms, and 0.9 ms, as without the loop, with 0.2 ms.
const TICK: Duration = Duration::from_micros(250);
/// How many ticks foreground code keeps its thread.
const TICKS_FOREGROUND: u32 = 8;
/// How many ticks are counted one by one after background code has run.
const FINE_TICKS: u32 = 400;

/// Advances the epoch from a thread of its own until the engine is gone; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ticker {
    /// Background code has begun to run since the last tick.
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
            Priority::Foreground => u64::from(TICKS_FOREGROUND),
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
        let ticks = if fine > 0 { 1 } else { TICKS_FOREGROUND };
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
    fn background_code_keeps_its_thread_for_less() {
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
