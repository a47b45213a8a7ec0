//! Which consumer is handed which entry, and when.

use super::*;
use crate::Stream;

#[test]
fn each_entry_is_read_by_one_consumer() {
    let fixture = Fixture::new();
    let (first, second) = (fixture.consumer("a"), fixture.consumer("b"));
    fixture.append(3);
    let batch = now(fixture.store.read(&first, 2)).unwrap();
    assert_eq!(ids(&batch), [FIRST, SECOND]);
    assert!(batch.events.iter().all(|event| event.attempt == 1 && event.fields == [Field::new("n", "1")]));
    assert_eq!(now(fixture.store.read(&second, 9)).unwrap().events.len(), 1);
    assert_eq!(now(fixture.store.read(&second, 9)).unwrap().events, []);
    assert_eq!(ids(&now(fixture.store.pending(&first, FIRST, 9)).unwrap().batch), [SECOND]);
}

#[test]
fn a_new_group_starts_where_it_should() {
    let fixture = Fixture::new();
    fixture.append(2);
    for (group, start, expected) in [
        ("new", GroupStart::New, vec![]),
        ("after", GroupStart::After(FIRST), vec![SECOND]),
        ("all", GroupStart::After(EntryId::ZERO), vec![FIRST, SECOND]),
    ] {
        let source = Arc::new(Source::new("", STREAM, group, 3, 500));
        now(fixture.store.open(&source, start)).unwrap();
        now(fixture.store.open(&source, GroupStart::After(EntryId::ZERO))).unwrap();
        assert_eq!(now(fixture.store.backlog(&source)).unwrap().lag, Some(expected.len() as u64), "{group}");
        let consumer = Consumer::new(source, "a".to_owned());
        now(fixture.store.join(&consumer)).unwrap();
        assert_eq!(ids(&now(fixture.store.read(&consumer, 9)).unwrap()), expected, "{group}");
    }
}

#[test]
fn a_takeover_fences_those_it_takes_from() {
    let fixture = Fixture::new();
    let (stalled, other, taker) = (fixture.consumer("a"), fixture.consumer("b"), fixture.consumer("c"));
    fixture.append(3);
    let taken_away = now(fixture.store.read(&stalled, 1)).unwrap();
    fixture.advance(10);
    let kept = now(fixture.store.read(&other, 1)).unwrap();
    let own = now(fixture.store.read(&taker, 1)).unwrap();

    let taken = now(fixture.store.take_over(&taker, 10, EntryId::ZERO, 9)).unwrap();
    assert_eq!((ids(&taken.batch), taken.next, taken.vanished), (ids(&taken_away), None, 0));
    assert_eq!(taken.batch.events[0].attempt, 1, "dying is no attempt");
    assert_eq!(taken.batch.epoch, own.epoch);
    let commit = |consumer: &Consumer, batch: &Batch| fixture.commit(Some((consumer, batch)), &[], done(batch));
    assert_eq!(commit(&stalled, &taken_away), Err(CommitError::Fenced));
    assert!(commit(&other, &kept).is_ok());
    assert!(commit(&taker, &own).is_ok());
    assert!(commit(&taker, &taken.batch).is_ok());
    assert_eq!(fixture.pending(), 0);
}

#[test]
fn who_keeps_its_entries_alive_keeps_them() {
    let fixture = Fixture::new();
    let (busy, taker) = (fixture.consumer("a"), fixture.consumer("b"));
    fixture.append(2);
    let batch = now(fixture.store.read(&busy, 2)).unwrap();
    let epoch = batch.epoch.unwrap();
    fixture.advance(9);
    assert_eq!(now(fixture.store.keep_alive(&busy, epoch, &[FIRST])), Ok(true));
    fixture.advance(1);
    assert_eq!(ids(&now(fixture.store.take_over(&taker, 10, EntryId::ZERO, 9)).unwrap().batch), [SECOND]);
    assert_eq!(now(fixture.store.keep_alive(&busy, epoch, &[FIRST])), Ok(false));
}

#[test]
fn a_retry_comes_back_when_it_is_due_and_not_before() {
    let fixture = Fixture::new();
    let (first, second) = (fixture.consumer("a"), fixture.consumer("b"));
    fixture.append(2);
    let batch = now(fixture.store.read(&first, 2)).unwrap();
    let later = Settlement { retry: vec![(FIRST, 50), (SECOND, 70)], ..Settlement::default() };
    fixture.commit(Some((&first, &batch)), &[], later).unwrap();

    fixture.advance(49);
    assert_eq!(now(fixture.store.pending(&first, EntryId::ZERO, 9)).unwrap().batch.events, []);
    assert_eq!(now(fixture.store.take_over(&second, 0, EntryId::ZERO, 9)).unwrap().batch.events, []);
    let early = now(fixture.store.due(&second, 9)).unwrap();
    assert_eq!((early.batch.events.len(), early.next_ms), (0, Some(1_050)));

    fixture.advance(1);
    let due = now(fixture.store.due(&second, 9)).unwrap();
    assert_eq!((ids(&due.batch), due.batch.events[0].attempt, due.next_ms), (vec![FIRST], 2, Some(1_070)));
    // It was not being handled, so its former consumer is not fenced.
    assert!(fixture.commit(Some((&first, &batch)), &[set("k", "1")], Settlement::default()).is_ok());

    fixture.commit(Some((&second, &due.batch)), &[], retry(&due.batch, 0)).unwrap();
    let again = now(fixture.store.due(&first, 9)).unwrap();
    assert_eq!((again.batch.events[0].attempt, again.next_ms), (3, Some(1_070)));
    fixture.commit(Some((&first, &again.batch)), &[], done(&again.batch)).unwrap();
    assert_eq!(fixture.pending(), 1);
}

#[test]
fn entries_that_are_gone_are_acknowledged_and_counted() {
    let fixture = Fixture::new();
    let (first, second) = (fixture.consumer("a"), fixture.consumer("b"));
    fixture.append(6);
    let batch = now(fixture.store.read(&first, 6)).unwrap();
    let all = ids(&batch);
    let wait = Settlement { retry: vec![(all[4], 0), (all[5], 0)], ..Settlement::default() };
    fixture.commit(Some((&first, &batch)), &[], wait).unwrap();
    let remove = |ids: &[EntryId]| fixture.apply(&[Effect::Remove { stream: STREAM.into(), ids: ids.to_vec() }]);

    remove(&[all[0], all[4]]);
    let own = now(fixture.store.pending(&first, EntryId::ZERO, 9)).unwrap();
    assert_eq!((ids(&own.batch), own.vanished), (all[1..4].to_vec(), 1));
    remove(&[all[1]]);
    let taken = now(fixture.store.take_over(&second, 0, EntryId::ZERO, 9)).unwrap();
    assert_eq!((ids(&taken.batch), taken.vanished), (all[2..4].to_vec(), 1));
    let due = now(fixture.store.due(&second, 9)).unwrap();
    assert_eq!((ids(&due.batch), due.vanished, due.next_ms), (vec![all[5]], 1, None));
    assert_eq!(fixture.pending(), 3);
}

#[test]
fn walks_meet_everything_in_bounded_steps() {
    let fixture = Fixture::new();
    let (first, second) = (fixture.consumer("a"), fixture.consumer("b"));
    fixture.append(5);
    let all = ids(&now(fixture.store.read(&first, 5)).unwrap());
    let walk = |step: &dyn Fn(EntryId) -> crate::Taken| {
        let (mut met, mut after) = (Vec::new(), Some(EntryId::ZERO));
        while let Some(from) = after {
            let taken = step(from);
            assert!(taken.batch.events.len() <= 2);
            met.extend(ids(&taken.batch));
            after = taken.next;
        }
        met
    };
    assert_eq!(walk(&|after| now(fixture.store.pending(&first, after, 2)).unwrap()), all);
    assert_eq!(walk(&|after| now(fixture.store.take_over(&second, 0, after, 2)).unwrap()), all);
}

#[test]
fn consumers_go_when_they_leave_or_die_but_never_with_entries() {
    let fixture = Fixture::new();
    let (idle, busy, caller) = (fixture.consumer("a"), fixture.consumer("b"), fixture.consumer("c"));
    let consumers = || now(fixture.store.info(STREAM)).unwrap().unwrap().groups[0].consumers;
    fixture.append(1);
    now(fixture.store.read(&busy, 1)).unwrap();
    now(fixture.store.leave(&busy)).unwrap();
    assert_eq!(consumers(), 3);
    now(fixture.store.leave(&idle)).unwrap();
    assert_eq!(consumers(), 2);
    assert_eq!(now(fixture.store.read(&idle, 1)).unwrap().epoch, None, "its fence is gone");

    fixture.advance(60_001);
    now(fixture.store.take_over(&caller, 100_000, EntryId::ZERO, 9)).unwrap();
    assert_eq!(consumers(), 3, "silent for less than ten times the idle time");
    now(fixture.store.take_over(&caller, 1_000_000, EntryId::ZERO, 9)).unwrap();
    now(fixture.store.take_over(&caller, 6_000, EntryId::ZERO, 9)).unwrap();
    assert_eq!(consumers(), 1, "the entry was taken from one, the other had none");
}

#[test]
fn without_the_group_every_delivery_says_so() {
    let fixture = Fixture::new();
    let consumer = fixture.consumer("a");
    fixture.append(1);
    let epoch = now(fixture.store.read(&consumer, 1)).unwrap().epoch.unwrap();
    fixture.apply(&[Effect::Delete { key: STREAM.into() }, append(STREAM, "1")]);
    let answers = [
        now(fixture.store.join(&consumer)),
        now(fixture.store.read(&consumer, 1)).map(drop),
        now(fixture.store.pending(&consumer, EntryId::ZERO, 1)).map(drop),
        now(fixture.store.take_over(&consumer, 0, EntryId::ZERO, 1)).map(drop),
        now(fixture.store.due(&consumer, 1)).map(drop),
        now(fixture.store.keep_alive(&consumer, epoch, &[FIRST])).map(drop),
        now(fixture.store.backlog(&fixture.source)).map(drop),
        now(fixture.store.leave(&consumer)),
    ];
    for answer in answers {
        assert_eq!(answer, Err(StoreError::NoGroup("`events` has no consumer group `group`".to_owned())));
    }
}
