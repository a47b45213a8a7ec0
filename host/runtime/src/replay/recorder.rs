//! A recording that is being made, or replayed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::BytesMut;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use super::{
    RECORDING_BYTES_MAX, Recordable, RecordableError, RecordedAnswer, RecordedError, RecordedRead, RecordedResponse,
    Recording,
};
use sandbar_store::combine::Gathered;

/// What a reading of a clock takes, in bytes.
const READING_BYTES: usize = 20;
/// By how much a clock goes on from the end of a recording with each reading, in nanoseconds.
const STEP_NS: u64 = 1000;
/// How many questions are kept that a recording had no answer to.
const UNKNOWN_MAX: usize = 16;

/// A recording that is being made, or replayed, by one call.
#[derive(Debug)]
pub struct Recorder {
    is_replaying: bool,
    inner: Mutex<Inner>,
}

/// The place of an answer that is still to come, or whose end is. Without any it stays empty: the caller did not wait
/// for it.
#[derive(Debug, Clone)]
pub struct PendingAnswer {
    recorder: Arc<Recorder>,
    at: usize,
}

#[derive(Debug)]
struct Inner {
    /// What was recorded.
    reads: Vec<RecordedRead>,
    /// Bodies of answers whose end is still to come.
    bodies: HashMap<usize, BytesMut>,
    /// What can be replayed.
    known: HashMap<String, VecDeque<RecordedAnswer>>,
    /// Numbers that calls which act at once would have made.
    pretended: HashMap<String, i64>,
    wall: Readings,
    monotonic: Readings,
    seed: [u8; 32],
    chance: StdRng,
    bytes: usize,
    is_truncated: bool,
    unknown: Vec<String>,
    unknown_count: u64,
    /// What the call committed by itself.
    committed: Vec<Gathered>,
    /// What a call that replays begins with.
    before: Vec<Gathered>,
}

#[derive(Debug, Default)]
struct Readings {
    all: VecDeque<u64>,
    last: u64,
}

impl Readings {
    fn next(&mut self) -> u64 {
        self.last = self.all.pop_front().unwrap_or(self.last.saturating_add(STEP_NS));
        self.last
    }
}

impl Inner {
    fn new(seed: [u8; 32]) -> Self {
        Self {
            reads: Vec::new(),
            bodies: HashMap::new(),
            known: HashMap::new(),
            pretended: HashMap::new(),
            wall: Readings::default(),
            monotonic: Readings::default(),
            chance: StdRng::from_seed(seed),
            seed,
            bytes: 0,
            is_truncated: false,
            unknown: Vec::new(),
            unknown_count: 0,
            committed: Vec::new(),
            before: Vec::new(),
        }
    }

    /// Whether so many more bytes fit; they are counted then.
    fn fits(&mut self, bytes: usize) -> bool {
        let total = self.bytes.saturating_add(bytes);
        if total > RECORDING_BYTES_MAX {
            self.is_truncated = true;
            return false;
        }
        self.bytes = total;
        true
    }
}

impl Recorder {
    /// A recorder that records.
    pub fn record() -> Arc<Self> {
        Arc::new(Self { is_replaying: false, inner: Mutex::new(Inner::new(rand::random())) })
    }

    /// A recorder that replays a recording, for a call that has these writes behind it.
    pub fn replay(recording: &Recording, before: Vec<Gathered>) -> Arc<Self> {
        let mut inner = Inner::new(recording.seed);
        for RecordedRead { ask, answer } in &recording.reads {
            inner.known.entry(ask.clone()).or_default().push_back(answer.clone());
        }
        let time_ms = recording.events.first().map_or(0, |event| event.time_ms);
        inner.wall =
            Readings { all: recording.wall.iter().copied().collect(), last: time_ms.saturating_mul(1_000_000) };
        inner.monotonic.all = recording.monotonic.iter().copied().collect();
        inner.before = before;
        Arc::new(Self { is_replaying: true, inner: Mutex::new(inner) })
    }

    /// Whether it replays. A call that replays has no effect.
    pub fn is_replaying(&self) -> bool {
        self.is_replaying
    }

    /// Asks: from the recording where it replays and the recording knows, else live; and records the answer where it
    /// records. `live` is not begun where the recording knows.
    pub async fn ask<T: Recordable, E: RecordableError>(
        &self,
        question: String,
        live: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        if self.is_replaying {
            return match self.find(&question) {
                Some(answer) => answer,
                None => live.await,
            };
        }
        let answer = live.await;
        self.note(question, answer.as_ref());
        answer
    }

    /// Records an answer.
    pub fn note<T: Recordable, E: RecordableError>(&self, ask: String, answer: Result<&T, &E>) {
        let answer = match answer {
            Ok(answer) => RecordedAnswer::Answer(answer.write()),
            Err(error) => RecordedAnswer::Error(error.fault()),
        };
        self.put(ask, answer);
    }

    fn put(&self, ask: String, answer: RecordedAnswer) -> Option<usize> {
        let size = ask.len()
            + match &answer {
                RecordedAnswer::Answer(value) => size(value),
                RecordedAnswer::Error(fault) => fault.text.len(),
            };
        let mut inner = self.inner.lock();
        if !inner.fits(size) {
            return None;
        }
        inner.reads.push(RecordedRead { ask, answer });
        Some(inner.reads.len() - 1)
    }

    /// What the recording has as the next answer, or the last one; none where it does not know the question, which is
    /// noted.
    pub fn find<T: Recordable, E: RecordableError>(&self, question: &str) -> Option<Result<T, E>> {
        self.look_up(question, true)
    }

    /// The same for what acts at once: each answer is given once.
    pub fn find_once<T: Recordable, E: RecordableError>(&self, question: &str) -> Option<Result<T, E>> {
        self.look_up(question, false)
    }

    fn look_up<T: Recordable, E: RecordableError>(&self, question: &str, last_stays: bool) -> Option<Result<T, E>> {
        let mut inner = self.inner.lock();
        let answer = match inner.known.get_mut(question) {
            Some(answers) if last_stays && answers.len() == 1 => answers.front().cloned(),
            Some(answers) => answers.pop_front(),
            None => None,
        };
        let found = answer.and_then(|answer| match answer {
            RecordedAnswer::Answer(value) => T::read(&value).map(Ok),
            RecordedAnswer::Error(fault) => Some(Err(E::from_fault(fault))),
        });
        if found.is_none() {
            inner.unknown_count += 1;
            if inner.unknown.len() < UNKNOWN_MAX {
                inner.unknown.push(question.to_owned());
            }
        }
        found
    }

    /// What adding to a number would have made of it, where it would have been this before.
    pub fn pretend(&self, key: &str, before: i64, by: i64) -> i64 {
        let mut inner = self.inner.lock();
        let number = inner.pretended.entry(key.to_owned()).or_insert(before);
        *number = number.wrapping_add(by);
        *number
    }

    /// Records a question whose answer is still to come, so that answers stand in the order in which they were asked
    /// for; none where it does not fit.
    pub fn reserve(self: &Arc<Self>, ask: String) -> Option<PendingAnswer> {
        let at = self.put(ask, RecordedAnswer::Answer(Value::Null))?;
        Some(PendingAnswer { recorder: self.clone(), at })
    }

    /// A reading of the wall clock, which now is at `live`.
    pub fn wall(&self, live: u64) -> u64 {
        self.reading(live, |inner| &mut inner.wall)
    }

    /// A reading of the monotonic clock, which now is at `live`.
    pub fn monotonic(&self, live: u64) -> u64 {
        self.reading(live, |inner| &mut inner.monotonic)
    }

    fn reading(&self, live: u64, which: impl Fn(&mut Inner) -> &mut Readings) -> u64 {
        let mut inner = self.inner.lock();
        if self.is_replaying {
            return which(&mut inner).next();
        }
        if inner.fits(READING_BYTES) {
            which(&mut inner).all.push_back(live);
        }
        live
    }

    /// Something random, the same each time that a recording is replayed.
    pub fn chance(&self, bytes: &mut [u8]) {
        self.inner.lock().chance.fill_bytes(bytes);
    }

    /// The call commits these by itself.
    pub fn commits(&self, writes: &[Gathered]) {
        self.inner.lock().committed.extend_from_slice(writes);
    }

    /// What the call has committed by itself.
    pub fn committed(&self) -> Vec<Gathered> {
        std::mem::take(&mut self.inner.lock().committed)
    }

    /// What a call that replays begins with.
    pub fn before(&self) -> Vec<Gathered> {
        std::mem::take(&mut self.inner.lock().before)
    }

    /// Questions that the recording had no answer to: how many, and the first of them.
    pub fn unknown(&self) -> (u64, Vec<String>) {
        let inner = self.inner.lock();
        (inner.unknown_count, inner.unknown.clone())
    }

    /// Ends a recording: what was read goes onto the recording.
    pub fn end(&self, recording: &mut Recording) {
        let mut inner = self.inner.lock();
        recording.reads = std::mem::take(&mut inner.reads);
        for (at, body) in std::mem::take(&mut inner.bodies) {
            if let Some(RecordedRead { answer: RecordedAnswer::Answer(Value::Object(head)), .. }) =
                recording.reads.get_mut(at)
            {
                head.insert("body".to_owned(), body.freeze().write());
            }
        }
        recording.wall = std::mem::take(&mut inner.wall.all).into();
        recording.monotonic = std::mem::take(&mut inner.monotonic.all).into();
        (recording.seed, recording.is_truncated) = (inner.seed, inner.is_truncated);
    }
}

impl PendingAnswer {
    /// The head of the answer has come, and its body will.
    pub fn answer(&self, head: &RecordedResponse) {
        let mut inner = self.recorder.inner.lock();
        let head = head.write();
        let fits = inner.fits(size(&head));
        if let Some(read) = inner.reads.get_mut(self.at) {
            let skipped = || {
                RecordedAnswer::Error(RecordedError {
                    kind: String::new(),
                    text: "the answer did not fit into the recording".to_owned(),
                })
            };
            read.answer = if fits { RecordedAnswer::Answer(head) } else { skipped() };
        }
        if fits {
            inner.bodies.insert(self.at, BytesMut::new());
        }
    }

    /// There is no answer, or its body ends before its end.
    pub fn fail(&self, fault: RecordedError) {
        let mut inner = self.recorder.inner.lock();
        // A fault is short, and without it the answer would be another one.
        inner.bytes = inner.bytes.saturating_add(fault.text.len());
        match inner.reads.get_mut(self.at).map(|read| &mut read.answer) {
            Some(RecordedAnswer::Answer(Value::Object(head))) => _ = head.insert("fault".to_owned(), fault.write()),
            Some(answer) => *answer = RecordedAnswer::Error(fault),
            None => {}
        }
    }

    /// More of the body has come.
    pub fn more(&self, bytes: &[u8]) {
        let mut inner = self.recorder.inner.lock();
        if inner.fits(bytes.len())
            && let Some(body) = inner.bodies.get_mut(&self.at)
        {
            body.extend_from_slice(bytes);
        }
    }
}

/// About how many bytes a value takes.
pub(super) fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(values) => 2 + values.iter().map(size).sum::<usize>(),
        Value::Object(values) => 2 + values.iter().map(|(name, value)| name.len() + size(value)).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbar_store::StoreError;

    type Found = Option<Result<u64, StoreError>>;

    #[tokio::test]
    async fn what_was_recorded_is_played() {
        let recorder = Recorder::record();
        for answer in [1_u64, 2] {
            let live = async { Ok::<u64, StoreError>(answer) };
            assert_eq!(recorder.ask("cache.get a".to_owned(), live).await, Ok(answer));
        }
        let gone = StoreError::WrongType("`b` is a list".to_owned());
        recorder.note::<u64, _>("cache.get b".to_owned(), Err(&gone));
        assert_eq!((recorder.wall(5), recorder.monotonic(7)), (5, 7));
        let mut random = [0; 8];
        recorder.chance(&mut random);
        let mut recording = Recording::blank("events", Vec::new());
        recorder.end(&mut recording);
        let text = serde_json::to_string(&recording).unwrap();
        let recording: Recording = serde_json::from_str(&text).unwrap();

        let replaying = Recorder::replay(&recording, Vec::new());
        let live = || async { panic!("the recording knows") };
        assert_eq!(replaying.ask::<u64, StoreError>("cache.get a".to_owned(), live()).await, Ok(1));
        assert_eq!(replaying.find("cache.get b") as Found, Some(Err(gone)));
        for _ in 0..2 {
            assert_eq!(replaying.find("cache.get a") as Found, Some(Ok(2)), "the last answer stays");
        }
        assert_eq!((replaying.wall(99), replaying.wall(99), replaying.monotonic(99)), (5, 5 + STEP_NS, 7));
        let mut again = [0; 8];
        replaying.chance(&mut again);
        assert_eq!(again, random);
        assert_eq!(replaying.find("cache.get c") as Found, None);
        assert_eq!(replaying.unknown(), (1, vec!["cache.get c".to_owned()]));
    }

    #[test]
    fn a_recording_is_bounded() {
        let recorder = Recorder::record();
        let value = "x".repeat(RECORDING_BYTES_MAX / 4);
        (0..10).for_each(|_| recorder.note::<_, StoreError>("cache.get a".to_owned(), Ok(&value)));
        (0..100_000).for_each(|at| assert_eq!(recorder.wall(at), at));
        let mut recording = Recording::default();
        recorder.end(&mut recording);
        assert!(recording.is_truncated);
        let bytes = serde_json::to_string(&recording).unwrap().len();
        assert!(bytes < RECORDING_BYTES_MAX + 100_000, "{bytes}");
    }
}
