//! What the reel of the call that runs in an instance lies in; its clocks and its randomness look there.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rand::{Rng, TryRng};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use super::{Answer, Fails, Reel};
use sandbar_store::StoreError;

/// What the reel of an instance's call lies in; cheap to clone. It is mostly empty, and nearly free then.
#[derive(Debug, Clone, Default)]
pub struct Deck(Arc<Holder>);

#[derive(Debug, Default)]
struct Holder {
    is_used: AtomicBool,
    reel: Mutex<Option<Arc<Reel>>>,
}

impl Deck {
    /// Puts a reel in, or takes it out.
    pub fn put(&self, reel: Option<Arc<Reel>>) {
        if reel.is_some() || self.0.is_used.load(Ordering::Relaxed) {
            self.0.is_used.store(reel.is_some(), Ordering::Relaxed);
            *self.0.reel.lock() = reel;
        }
    }

    /// The reel that lies in it.
    pub fn reel(&self) -> Option<Arc<Reel>> {
        if self.0.is_used.load(Ordering::Relaxed) { self.0.reel.lock().clone() } else { None }
    }

    /// Asks something that has no effect. Where the call plays a tape, the tape answers; where it records one, the answer is noted.
    pub async fn ask<T: Answer, E: Fails>(
        &self,
        question: impl FnOnce() -> String,
        live: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        match self.reel() {
            None => live.await,
            Some(reel) => reel.ask(question(), live).await,
        }
    }

    /// Does something that acts at once, or pretends to where the call plays a tape.
    pub async fn act<T: Answer>(
        &self,
        question: impl FnOnce() -> String,
        live: impl Future<Output = Result<T, StoreError>>,
        pretended: impl AsyncFnOnce(&Reel) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Some(reel) = self.reel() else { return live.await };
        let question = question();
        if reel.is_playing() {
            return match reel.find_once(&question) {
                Some(answer) => answer,
                None => pretended(&reel).await,
            };
        }
        let answer = live.await;
        reel.note(question, answer.as_ref());
        answer
    }

    /// The reel that lies in it, where it plays.
    pub fn playing(&self) -> Option<Arc<Reel>> {
        self.reel().filter(|reel| reel.is_playing())
    }

    /// The reel that lies in it, where it records.
    pub fn recording(&self) -> Option<Arc<Reel>> {
        self.reel().filter(|reel| !reel.is_playing())
    }
}

/// The wall clock of an instance.
#[derive(Debug)]
pub struct Wall(pub Deck);

impl HostWallClock for Wall {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        match self.0.reel() {
            None => now,
            Some(reel) => Duration::from_nanos(reel.wall(nanos(now))),
        }
    }
}

/// The monotonic clock of an instance.
#[derive(Debug)]
pub struct Monotonic {
    deck: Deck,
    start: Instant,
}

impl Monotonic {
    /// A clock that begins at zero.
    pub fn new(deck: Deck) -> Self {
        Self { deck, start: Instant::now() }
    }
}

impl HostMonotonicClock for Monotonic {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        let now = nanos(self.start.elapsed());
        self.deck.reel().map_or(now, |reel| reel.monotonic(now))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The randomness of an instance: the process's own secure generator, or that of a tape.
#[derive(Debug)]
pub struct Chance(pub Deck);

impl TryRng for Chance {
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
        match self.0.reel() {
            None => rand::rng().fill_bytes(bytes),
            Some(reel) => reel.chance(bytes),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::Tape;

    #[test]
    fn an_instance_meets_the_clocks_and_the_chance_of_the_tape_that_lies_in_it() {
        let deck = Deck::default();
        let (mut chance, wall, monotonic) = (Chance(deck.clone()), Wall(deck.clone()), Monotonic::new(deck.clone()));
        let mut look = || {
            let mut bytes = [0; 16];
            chance.fill_bytes(&mut bytes);
            (bytes, chance.next_u64(), chance.next_u32(), wall.now(), monotonic.now())
        };
        let recording = Reel::record();
        deck.put(Some(recording.clone()));
        let recorded = look();
        let mut tape = Tape::default();
        recording.end(&mut tape);
        deck.put(None);
        assert_ne!(look(), recorded, "without a tape they go on");
        for _ in 0..2 {
            deck.put(Some(Reel::play(&tape, Vec::new())));
            assert_eq!(look(), recorded);
        }
    }
}
