//! What a commit checks, applies and settles.

use super::*;
use crate::{Cache, DeadLetter, Epoch, Stream};

fn dead(id: EntryId) -> Settlement {
    Settlement { dead: vec![DeadLetter { id, fields: vec![Field::new("reason", "bad")] }], ..Settlement::default() }
}

#[test]
fn a_refused_effect_leaves_the_others_and_the_acknowledgement() {
    let fixture = Fixture::new();
    let consumer = fixture.consumer("a");
    fixture.append(1);
    let batch = now(fixture.store.read(&consumer, 10)).unwrap();
    let effects = [set("k", "x"), Effect::Add { key: "k".into(), by: 1 }, append("k", "1"), set("l", "y")];
    let made = fixture.commit(Some((&consumer, &batch)), &effects, done(&batch)).unwrap();
    assert_eq!(made.refused.iter().map(|refusal| refusal.effect).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(made.refused[1].error, "`k` holds a plain value, not a stream");
    assert_eq!(now(fixture.store.get("l")), Ok(Some("y".into())));
    assert_eq!(fixture.pending(), 0);
}

#[test]
fn a_watched_value_must_not_have_changed() {
    let fixture = Fixture::new();
    fixture.apply(&[set("k", "1"), append("s", "1")]);
    let commit = |key: &str, value: Option<&'static str>, atomic| {
        let watched = [(key.to_owned(), value.map(Bytes::from))];
        let effects = [set("written", "yes")];
        let commit = Commit {
            consumer: None,
            watched: &watched,
            effects: &effects,
            settlement: Settlement::default(),
            leases: &[],
            atomic,
        };
        now(fixture.store.commit(commit)).map(drop)
    };
    for (key, value) in [("k", Some("2")), ("k", None), ("none", Some("1")), ("s", None)] {
        assert_eq!(commit(key, value, true), Err(CommitError::Conflict(key.to_owned())), "{key} {value:?}");
    }
    assert_eq!(now(fixture.store.get("written")), Ok(None));
    assert_eq!(commit("k", Some("2"), false), Ok(()));
    assert_eq!(commit("k", Some("1"), true), Ok(()));
    assert_eq!(commit("none", None, true), Ok(()));
}

#[test]
fn a_commit_of_an_older_epoch_changes_nothing() {
    let fixture = Fixture::new();
    let consumer = fixture.consumer("a");
    fixture.append(1);
    let batch = now(fixture.store.read(&consumer, 10)).unwrap();
    now(fixture.store.fence(&consumer)).unwrap();
    let late = fixture.commit(Some((&consumer, &batch)), &[set("k", "1")], done(&batch));
    assert_eq!(late, Err(CommitError::Fenced));
    assert_eq!((now(fixture.store.get("k")), fixture.pending()), (Ok(None), 1));

    let unchecked = Batch { epoch: Some(Epoch::UNCHECKED), events: Vec::new() };
    fixture.commit(Some((&consumer, &unchecked)), &[set("unchecked", "1")], Settlement::default()).unwrap();
    assert_eq!(now(fixture.store.get("unchecked")), Ok(Some("1".into())));

    let again = now(fixture.store.pending(&consumer, EntryId::ZERO, 10)).unwrap().batch;
    assert_eq!(ids(&again), ids(&batch));
    fixture.commit(Some((&consumer, &again)), &[set("k", "1")], done(&again)).unwrap();
    assert_eq!((now(fixture.store.get("k")), fixture.pending()), (Ok(Some("1".into())), 0));
}

#[test]
fn dead_letters_are_bounded_by_count_and_age() {
    let fixture = Fixture::new();
    let consumer = fixture.consumer("a");
    fixture.append(5);
    let bury = || {
        let batch = now(fixture.store.read(&consumer, 1)).unwrap();
        fixture.commit(Some((&consumer, &batch)), &[], dead(batch.events[0].id)).unwrap();
        now(fixture.store.backlog(&fixture.source)).unwrap()
    };
    let counts: Vec<u64> = (0..4).map(|_| bury().dead).collect();
    assert_eq!(counts, [1, 2, 3, 3]);
    fixture.advance(501);
    let backlog = bury();
    assert_eq!((backlog.dead, backlog.pending, backlog.lag), (1, 0, Some(0)));
}

#[test]
fn an_event_is_not_given_up_where_its_dead_letter_cannot_be_kept() {
    let fixture = Fixture::new();
    let consumer = fixture.consumer("a");
    fixture.append(1);
    fixture.apply(&[set("events:dead", "not a stream")]);
    let batch = now(fixture.store.read(&consumer, 1)).unwrap();
    let refused = fixture.commit(Some((&consumer, &batch)), &[set("k", "1")], dead(FIRST));
    assert!(matches!(refused, Err(CommitError::Refused(StoreError::WrongType(_)))), "{refused:?}");
    fixture.apply(&[Effect::Delete { key: "events:dead".into() }]);
    assert_eq!((now(fixture.store.get("k")), fixture.pending()), (Ok(None), 1));
}

#[test]
fn effects_stand_although_the_stream_was_deleted() {
    let fixture = Fixture::new();
    let consumer = fixture.consumer("a");
    fixture.append(1);
    let batch = now(fixture.store.read(&consumer, 1)).unwrap();
    fixture.apply(&[Effect::Delete { key: STREAM.into() }]);
    fixture.commit(Some((&consumer, &batch)), &[set("k", "1")], retry(&batch, 5)).unwrap();
    assert_eq!(now(fixture.store.get("k")), Ok(Some("1".into())));
    assert_eq!(now(fixture.store.length(STREAM)), Ok(0));
}

#[test]
fn an_append_wakes_who_waits_for_its_stream_and_nothing_else_does() {
    let fixture = Fixture::new();
    let wake = fixture.store.watch(STREAM);
    assert!(wake.wait().now_or_never().is_some(), "woken once at the start");
    let no_fields = Effect::Append { stream: STREAM.into(), fields: Vec::new(), retention: Retention::Unlimited };
    fixture.apply(&[append("other", "1"), set("k", "1"), no_fields]);
    let refused = fixture.commit(None, &[append("k", "1")], Settlement::default()).unwrap();
    assert_eq!(refused.refused.len(), 1);
    assert!(wake.wait().now_or_never().is_none());
    fixture.append(2);
    assert!(wake.wait().now_or_never().is_some());
    assert!(wake.wait().now_or_never().is_none(), "one commit wakes once");
}

#[test]
fn a_message_is_published_with_its_commit() {
    let fixture = Fixture::new();
    let mut listener = fixture.store.subscribe("news");
    assert_eq!(now(fixture.store.subscribers("news")), Ok(1));
    let consumer = fixture.consumer("a");
    fixture.append(1);
    let batch = now(fixture.store.read(&consumer, 1)).unwrap();
    let publish = [Effect::Publish { channel: "news".into(), payload: "1".into() }];
    now(fixture.store.fence(&consumer)).unwrap();
    assert_eq!(fixture.commit(Some((&consumer, &batch)), &publish, done(&batch)), Err(CommitError::Fenced));
    assert!(listener.try_recv().is_err());
    fixture.apply(&publish);
    assert_eq!(listener.try_recv(), Ok(Bytes::from("1")));
}

#[test]
fn a_trim_keeps_what_a_group_still_needs() {
    let fixture = Fixture::new();
    let consumer = fixture.consumer("a");
    fixture.append(4);
    let trim = |keep_unread| now(fixture.store.trim(STREAM, Retention::Exactly(0), keep_unread));
    assert_eq!(trim(true), Ok(0));
    let batch = now(fixture.store.read(&consumer, 3)).unwrap();
    assert_eq!(trim(true), Ok(0));
    let first_and_last = Settlement { done: vec![batch.events[0].id, batch.events[2].id], ..Settlement::default() };
    fixture.commit(Some((&consumer, &batch)), &[], first_and_last).unwrap();
    assert_eq!(trim(true), Ok(1));
    let second = Settlement { done: vec![batch.events[1].id], ..Settlement::default() };
    fixture.commit(Some((&consumer, &batch)), &[], second).unwrap();
    assert_eq!(trim(true), Ok(2));
    assert_eq!(trim(false), Ok(1));
    assert!(matches!(now(fixture.store.trim(STREAM, Retention::Unlimited, false)), Err(StoreError::Invalid(_))));
}
