//! Whatever order reads, takeovers, lost replies and late commits come in, each entry's effect is made once.

use proptest::prelude::*;

use super::*;
use crate::Collections;

/// After so many milliseconds without a sign an entry is taken over.
const IDLE_MS: u64 = 5;
const CONSUMERS: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Step {
    Append,
    Read(usize),
    /// Commits one of the batches that the consumer has, be it long fenced.
    Commit(usize, usize),
    /// The same, but the handler asks for a retry.
    Retry(usize, usize),
    /// What follows a lost reply or a fenced commit: a new epoch, and all pending entries again.
    Recover(usize),
    TakeOver(usize),
    Due(usize),
    Tick(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let consumer = || 0..CONSUMERS;
    prop_oneof![
        3 => Just(Step::Append),
        3 => consumer().prop_map(Step::Read),
        3 => (consumer(), 0_usize..4).prop_map(|(consumer, batch)| Step::Commit(consumer, batch)),
        1 => (consumer(), 0_usize..4).prop_map(|(consumer, batch)| Step::Retry(consumer, batch)),
        1 => consumer().prop_map(Step::Recover),
        2 => consumer().prop_map(Step::TakeOver),
        1 => consumer().prop_map(Step::Due),
        2 => (0..2 * IDLE_MS).prop_map(Step::Tick),
    ]
}

/// A fleet of consumers, each with the batches that it has not committed yet.
struct Fleet {
    fixture: Fixture,
    consumers: Vec<(Consumer, Vec<Batch>)>,
}

impl Fleet {
    fn new() -> Self {
        let fixture = Fixture::new();
        let consumers = (0..CONSUMERS).map(|number| (fixture.consumer(&number.to_string()), Vec::new())).collect();
        Self { fixture, consumers }
    }

    fn take(&mut self, step: Step) {
        let store = &self.fixture.store;
        match step {
            Step::Append => self.fixture.append(1),
            Step::Tick(ms) => self.fixture.advance(ms),
            Step::Commit(number, batch) => self.commit(number, batch, done),
            Step::Retry(number, batch) => self.commit(number, batch, |batch| retry(batch, 3)),
            Step::Read(number) => {
                let (consumer, batches) = &mut self.consumers[number];
                batches.push(now(store.read(consumer, 2)).unwrap());
            }
            Step::Recover(number) => {
                let (consumer, batches) = &mut self.consumers[number];
                now(store.fence(consumer)).unwrap();
                batches.push(now(store.pending(consumer, EntryId::ZERO, 100)).unwrap().batch);
            }
            Step::TakeOver(number) => {
                let (consumer, batches) = &mut self.consumers[number];
                batches.push(now(store.take_over(consumer, IDLE_MS, EntryId::ZERO, 100)).unwrap().batch);
            }
            Step::Due(number) => {
                let (consumer, batches) = &mut self.consumers[number];
                batches.push(now(store.due(consumer, 100)).unwrap().batch);
            }
        }
    }

    /// Commits a batch, with one count for each entry where it is done; the batch is given away, made or fenced.
    fn commit(&mut self, number: usize, batch: usize, settle: impl Fn(&Batch) -> Settlement) {
        let (consumer, batches) = &mut self.consumers[number];
        if batch >= batches.len() {
            return;
        }
        let batch = batches.remove(batch);
        let settlement = settle(&batch);
        let count = |id: &EntryId| Effect::HashAdd { key: "counts".into(), name: id.to_string(), by: 1 };
        let effects: Vec<Effect> = settlement.done.iter().map(count).collect();
        match self.fixture.commit(Some((consumer, &batch)), &effects, settlement) {
            Ok(made) => assert_eq!(made.refused, []),
            Err(error) => assert_eq!(error, CommitError::Fenced),
        }
    }

    /// Lets the consumers go on until nothing is left to do.
    fn finish(&mut self) {
        for number in 0..CONSUMERS {
            self.take(Step::Recover(number));
            while !self.consumers[number].1.is_empty() {
                self.take(Step::Commit(number, 0));
            }
        }
        self.take(Step::Tick(3));
        for step in [Step::Due(0), Step::Commit(0, 0)] {
            self.take(step);
        }
        while now(self.fixture.store.backlog(&self.fixture.source)).unwrap().lag != Some(0) {
            self.take(Step::Read(0));
            self.take(Step::Commit(0, 0));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn each_effect_is_made_once(steps in prop::collection::vec(step(), 0..80)) {
        let mut fleet = Fleet::new();
        steps.iter().for_each(|&step| fleet.take(step));
        fleet.finish();
        let appended = steps.iter().filter(|step| matches!(step, Step::Append)).count();
        let counts = now(fleet.fixture.store.hash_get_all("counts")).unwrap();
        prop_assert_eq!(fleet.fixture.pending(), 0);
        prop_assert!(counts.iter().all(|count| count.value == "1"), "{:?}", counts);
        prop_assert_eq!(counts.len(), appended);
    }
}
