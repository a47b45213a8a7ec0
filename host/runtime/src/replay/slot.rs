//! What the recorder of the call that runs in an instance lies in; its clocks and its randomness look there.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rand::{Rng, TryRng};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use super::{Recordable, RecordableError, Recorder};
use sandbar_store::StoreError;

/// What the recorder of an instance's call lies in; cheap to clone. It is mostly empty, and nearly free then.
#[derive(Debug, Clone, Default)]
pub struct RecorderSlot(Arc<Holder>);

#[derive(Debug, Default)]
struct Holder {
    is_used: AtomicBool,
    recorder: Mutex<Option<Arc<Recorder>>>,
}

impl RecorderSlot {
    /// Puts a recorder in, or takes it out.
    pub fn put(&self, recorder: Option<Arc<Recorder>>) {
        if recorder.is_some() || self.0.is_used.load(Ordering::Relaxed) {
            self.0.is_used.store(recorder.is_some(), Ordering::Relaxed);
            *self.0.recorder.lock() = recorder;
        }
    }

    /// The recorder that lies in it.
    pub fn recorder(&self) -> Option<Arc<Recorder>> {
        if self.0.is_used.load(Ordering::Relaxed) { self.0.recorder.lock().clone() } else { None }
    }

    /// Asks something that has no effect. Where the call replays a recording, the recording answers; where it records
    /// one, the answer is noted.
    pub async fn ask<T: Recordable, E: RecordableError>(
        &self,
        question: impl FnOnce() -> String,
        live: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        match self.recorder() {
            None => live.await,
            Some(recorder) => recorder.ask(question(), live).await,
        }
    }

    /// Does something that acts at once, or pretends to where the call replays a recording.
    pub async fn act<T: Recordable>(
        &self,
        question: impl FnOnce() -> String,
        live: impl Future<Output = Result<T, StoreError>>,
        pretended: impl AsyncFnOnce(&Recorder) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Some(recorder) = self.recorder() else { return live.await };
        let question = question();
        if recorder.is_replaying() {
            return match recorder.find_once(&question) {
                Some(answer) => answer,
                None => pretended(&recorder).await,
            };
        }
        let answer = live.await;
        recorder.note(question, answer.as_ref());
        answer
    }

    /// The recorder that lies in it, where it replays.
    pub fn replaying(&self) -> Option<Arc<Recorder>> {
        self.recorder().filter(|recorder| recorder.is_replaying())
    }

    /// The recorder that lies in it, where it records.
    pub fn recording(&self) -> Option<Arc<Recorder>> {
        self.recorder().filter(|recorder| !recorder.is_replaying())
    }
}

/// The wall clock of an instance.
#[derive(Debug)]
pub struct RecordedWallClock(pub RecorderSlot);

impl HostWallClock for RecordedWallClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        match self.0.recorder() {
            None => now,
            Some(recorder) => Duration::from_nanos(recorder.wall(nanos(now))),
        }
    }
}

/// The monotonic clock of an instance.
#[derive(Debug)]
pub struct RecordedMonotonicClock {
    recorder_slot: RecorderSlot,
    start: Instant,
}

impl RecordedMonotonicClock {
    /// A clock that begins at zero.
    pub fn new(recorder_slot: RecorderSlot) -> Self {
        Self { recorder_slot, start: Instant::now() }
    }
}

impl HostMonotonicClock for RecordedMonotonicClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        let now = nanos(self.start.elapsed());
        self.recorder_slot.recorder().map_or(now, |recorder| recorder.monotonic(now))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The randomness of an instance: the process's own secure generator, or that of a recording.
#[derive(Debug)]
pub struct RecordedRandom(pub RecorderSlot);

impl TryRng for RecordedRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        match self.0.recorder() {
            None => rand::rng().fill_bytes(bytes),
            Some(recorder) => recorder.chance(bytes),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::Recording;

    #[test]
    fn an_instance_meets_the_clocks_and_the_randomness_of_its_recording() {
        let recorder_slot = RecorderSlot::default();
        let (mut chance, wall, monotonic) = (
            RecordedRandom(recorder_slot.clone()),
            RecordedWallClock(recorder_slot.clone()),
            RecordedMonotonicClock::new(recorder_slot.clone()),
        );
        let mut look = || {
            let mut bytes = [0; 16];
            chance.fill_bytes(&mut bytes);
            (bytes, chance.next_u64(), chance.next_u32(), wall.now(), monotonic.now())
        };
        let recorder = Recorder::record();
        recorder_slot.put(Some(recorder.clone()));
        let recorded = look();
        let mut recording = Recording::default();
        recorder.end(&mut recording);
        recorder_slot.put(None);
        assert_ne!(look(), recorded, "without a recording they go on");
        for _ in 0..2 {
            recorder_slot.put(Some(Recorder::replay(&recording, Vec::new())));
            assert_eq!(look(), recorded);
        }
    }
}
