//! Tests of write combining.

use bytes::Bytes;
use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;
use crate::embedded::Embedded;
use crate::{Commit, Condition, Delivery, End, EntryId, Expiry, Field, Refusal, Retention, Scored, Settlement};

const CHANNELS: [&str; 2] = ["a", "b"];

fn set(value: &str, expiry: Expiry) -> Effect {
    Effect::Set {
        key: "k".into(),
        value: Bytes::copy_from_slice(value.as_bytes()),
        expiry,
        condition: Condition::Always,
    }
}

fn push(values: &[&str], keep: Option<u64>) -> Effect {
    let values = values.iter().map(|value| Bytes::copy_from_slice(value.as_bytes())).collect();
    Effect::ListPush { key: "k".into(), end: End::Front, values, keep }
}

fn hash_add(name: &str, by: i64) -> Effect {
    Effect::HashAdd { key: "k".into(), name: name.into(), by }
}

/// Each effect belongs to the event of its index.
fn combined(effects: impl IntoIterator<Item = Effect>) -> Vec<(Effect, Vec<Option<u32>>)> {
    let gathered = (0..).zip(effects).map(|(event, effect)| Gathered { effect, event: Some(event) }).collect();
    combine(gathered).into_iter().map(|combined| (combined.effect, combined.events.into_vec())).collect()
}

#[test]
fn the_last_set_stands_in_the_place_of_the_first() {
    let publish = || Effect::Publish { channel: "k".into(), payload: Bytes::new() };
    let ttl = Expiry::TtlMs(300);
    assert_eq!(
        combined([set("1", ttl), publish(), set("2", Expiry::Never), publish(), set("3", ttl)]),
        [(set("3", ttl), vec![Some(4)]), (publish(), vec![Some(1)]), (publish(), vec![Some(3)])]
    );
}

#[test]
fn what_may_be_refused_is_never_dropped() {
    let effects = [set("x", Expiry::Never), Effect::Add { key: "k".into(), by: 1 }, Effect::Delete { key: "k".into() }];
    assert_eq!(combined(effects.clone()).len(), effects.len());
}

#[test]
fn times_to_live_are_carried_over() {
    let ttl = Expiry::TtlMs(300);
    assert_eq!(combined([set("1", ttl), set("2", Expiry::KeepTtl)]), [(set("2", ttl), vec![Some(1)])]);
    let expire = Effect::Expire { key: "k".into(), ttl_ms: 300 };
    assert_eq!(combined([set("1", Expiry::Never), expire.clone()]), [(set("1", ttl), vec![Some(0), Some(1)])]);
    assert_eq!(combined([expire.clone(), set("2", Expiry::KeepTtl)]).len(), 2);
    assert_eq!(combined([Effect::Delete { key: "k".into() }, expire]).len(), 2);
}

#[test]
fn sums_that_overflow_stay_apart() {
    let add = |by| Effect::Add { key: "k".into(), by };
    assert_eq!(combined([add(1), add(-3)]), [(add(-2), vec![Some(0), Some(1)])]);
    assert_eq!(combined([add(i64::MAX), add(1)]).len(), 2);
}

#[test]
fn counters_of_one_hash_are_summed_field_by_field() {
    let effects = (0..30).map(|event| hash_add(if event % 2 == 0 { "even" } else { "odd" }, 1));
    let of = |parity| (0..30).filter(|event| event % 2 == parity).map(Some).collect::<Vec<_>>();
    assert_eq!(combined(effects), [(hash_add("even", 15), of(0)), (hash_add("odd", 15), of(1))]);
}

#[test]
fn only_values_that_survive_are_pushed() {
    let pushes = ["1", "2", "3", "4", "5", "6"].map(|value| push(&[value], Some(2)));
    assert_eq!(combined(pushes), [(push(&["5", "6"], Some(2)), (0..6).map(Some).collect())]);
    assert_eq!(combined([push(&["1"], None), push(&["2"], Some(5))])[0].0, push(&["1", "2"], Some(5)));
    assert_eq!(combined([push(&["1"], Some(2)), push(&["2"], Some(5))]).len(), 2);
    assert_eq!(combined([push(&["1"], Some(2)), push(&["2"], None)]).len(), 2);
}

#[test]
fn an_effect_does_not_grow_without_bound() {
    let values = vec!["v"; MEMBERS_MAX];
    assert_eq!(combined([push(&values, None), push(&["1"], None)]).len(), 2);
    assert_eq!(combined([push(&values, None), push(&["1"], Some(MEMBERS_MAX as u64))]).len(), 1);
}

#[test]
fn events_are_named_once_and_the_batch_first() {
    let add = |event| Gathered { effect: hash_add("f", 1), event };
    let combined = combine([Some(3), None, Some(1), Some(3), None].map(add).into());
    assert_eq!(combined[0].events.as_slice(), [None, Some(1), Some(3)]);
}

/// A few writes of one kind on one key.
fn run(key: &'static str) -> impl Strategy<Value = Vec<Effect>> {
    let key = || Just(key.to_owned());
    let name = || prop::sample::select(vec!["f", "g", "h"]).prop_map(str::to_owned);
    let names = || prop::collection::vec(name(), 1..4);
    let value = || prop_oneof!["[0-9]", "[xy]"].prop_map(Bytes::from);
    let expiry = prop_oneof![Just(Expiry::Never), Just(Expiry::KeepTtl), (1_u64..4).prop_map(Expiry::TtlMs)];
    let condition =
        prop_oneof![3 => Just(Condition::Always), 1 => Just(Condition::IfAbsent), 1 => Just(Condition::IfPresent)];
    let fields = || prop::collection::vec((name(), value()).prop_map(|(name, value)| Field { name, value }), 1..4);
    let scored = (name(), -2_i8..3).prop_map(|(member, score)| Scored { member, score: score.into() });
    let end = prop_oneof![3 => Just(End::Front), 1 => Just(End::Back)];
    let keep = prop::option::weighted(0.7, 1_u64..5);
    let retention = prop_oneof![Just(Retention::Unlimited), (0_u64..4).prop_map(Retention::Exactly)];

    let plain = prop_oneof![
        2 => (key(), value(), expiry, condition)
            .prop_map(|(key, value, expiry, condition)| Effect::Set { key, value, expiry, condition }),
        1 => key().prop_map(|key| Effect::Delete { key }),
        1 => (key(), 1_u64..4).prop_map(|(key, ttl_ms)| Effect::Expire { key, ttl_ms }),
        2 => (key(), -5_i64..5).prop_map(|(key, by)| Effect::Add { key, by }),
    ];
    let stream = prop_oneof![
        2 => (key(), fields(), retention)
            .prop_map(|(stream, fields, retention)| Effect::Append { stream, fields, retention }),
        1 => (key(), 1_u64..3)
            .prop_map(|(stream, ms)| Effect::Remove { stream, ids: vec![EntryId { ms, seq: 0 }] }),
        1 => (prop::sample::select(CHANNELS.to_vec()), value())
            .prop_map(|(channel, payload)| Effect::Publish { channel: channel.to_owned(), payload }),
    ];
    let hash = prop_oneof![
        2 => (key(), fields()).prop_map(|(key, fields)| Effect::HashSet { key, fields }),
        1 => (key(), names()).prop_map(|(key, names)| Effect::HashDelete { key, names }),
        3 => (key(), name(), -5_i64..5).prop_map(|(key, name, by)| Effect::HashAdd { key, name, by }),
    ];
    let set = prop_oneof![
        2 => (key(), names()).prop_map(|(key, members)| Effect::SetAdd { key, members }),
        1 => (key(), names()).prop_map(|(key, members)| Effect::SetRemove { key, members }),
    ];
    let sorted = prop_oneof![
        3 => (key(), prop::collection::vec(scored, 1..4)).prop_map(|(key, members)| Effect::SortedAdd { key, members }),
        1 => (key(), names()).prop_map(|(key, members)| Effect::SortedRemove { key, members }),
        1 => key().prop_map(|key| Effect::SortedRemoveByScore { key, min: 0.0, max: 1.0 }),
    ];
    let list = prop_oneof![
        4 => (key(), end, prop::collection::vec(value(), 1..4), keep)
            .prop_map(|(key, end, values, keep)| Effect::ListPush { key, end, values, keep }),
        1 => (key(), value()).prop_map(|(key, value)| Effect::ListRemove { key, value }),
    ];
    let several = |one: BoxedStrategy<Effect>| prop::collection::vec(one, 1..5);
    prop_oneof![
        2 => several(plain.boxed()),
        1 => several(stream.boxed()),
        1 => several(hash.boxed()),
        1 => several(set.boxed()),
        1 => several(sorted.boxed()),
        1 => several(list.boxed()),
    ]
}

/// Runs on a few keys, so that writes meet others of their kind and of other kinds.
fn effects() -> impl Strategy<Value = Vec<Effect>> {
    let run = prop::sample::select(vec!["a", "b", "c"]).prop_flat_map(run);
    prop::collection::vec(run, 0..8).prop_map(|runs| runs.concat())
}

fn commit(store: &Embedded, effects: &[Effect]) -> Vec<Refusal> {
    let commit =
        Commit { consumer: None, watched: &[], effects, settlement: Settlement::default(), leases: &[], atomic: true };
    store.commit(commit).now_or_never().expect("an embedded store answers at once").unwrap().refused
}

/// What a store holds after two commits, and what was published in the second.
fn outcome(
    before: &[Effect],
    effects: &[Effect],
) -> (impl PartialEq + std::fmt::Debug + use<>, Vec<Vec<Bytes>>, Vec<Refusal>) {
    let store = Embedded::with_clock(|| 1);
    commit(&store, before);
    let mut listeners = CHANNELS.map(|channel| store.subscribe(channel));
    let refused = commit(&store, effects);
    let messages = listeners.iter_mut().map(|listener| std::iter::from_fn(|| listener.try_recv().ok()).collect());
    (store.contents(), messages.collect(), refused)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn nobody_can_see_the_difference(before in effects(), effects in effects()) {
        let gathered: Vec<Gathered> =
            (0..).zip(&effects).map(|(event, effect)| Gathered { effect: effect.clone(), event: Some(event) }).collect();
        let combined = combine(gathered);
        let fewer: Vec<Effect> = combined.iter().map(|combined| combined.effect.clone()).collect();

        let (contents, messages, refused) = outcome(&before, &effects);
        let (contents_combined, messages_combined, refused_combined) = outcome(&before, &fewer);
        prop_assert_eq!(contents, contents_combined);
        prop_assert_eq!(messages, messages_combined);

        let mut blamed: Vec<Option<u32>> =
            refused_combined.iter().flat_map(|refusal| combined[refusal.effect].events.clone()).collect();
        blamed.sort_unstable();
        let expected: Vec<Option<u32>> = refused.iter().map(|refusal| Some(refusal.effect as u32)).collect();
        prop_assert_eq!(blamed, expected);
    }
}
