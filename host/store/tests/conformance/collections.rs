//! Hashes, sets, sorted sets and lists.

use bytes::Bytes;
use sandbar_store::{COLLECTION_MEMBERS_MAX, End, Field, Remaining};

use super::build::*;
use super::fixture::{assert_limit, assert_wrong_type};
use super::{Fixture, conformance};

conformance! {
    fields_of_hashes,
    members_of_sets,
    members_of_sorted_sets,
    ranges_of_sorted_sets_by_rank,
    ranges_of_sorted_sets_by_score,
    values_of_lists,
    lists_are_cut,
    ranges_of_lists,
    missing_collections_are_empty,
    emptied_collections_are_gone,
    other_kinds_are_no_collections,
    a_collection_keeps_its_expiry,
    large_answers_are_refused,
}

fn sorted(mut fields: Vec<Field>) -> Vec<Field> {
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    fields
}

async fn fields_of_hashes(t: &Fixture) {
    let key = t.key("h");
    t.write(&[hash_set(&key, &[("b", "2"), ("a", "1"), ("", "empty name"), ("empty", "")])]).await;
    t.write(&[hash_set(&key, &[("a", "one"), ("a", "last wins")]), hash_delete(&key, &["b", "missing"])]).await;
    let expected = sorted(fields(&[("a", "last wins"), ("", "empty name"), ("empty", "")]));
    assert_eq!(t.store.hash_get_all(&key).await.map(sorted), Ok(expected));
    assert_eq!(t.store.hash_length(&key).await, Ok(3));
    let values = t.store.hash_get_many(&key, &owned(&["empty", "b", "a", "a", ""])).await.unwrap();
    let last = Some(bytes("last wins"));
    assert_eq!(values, [Some(Bytes::new()), None, last.clone(), last, Some(bytes("empty name"))]);
    assert_eq!(t.store.hash_get_many(&key, &[]).await, Ok(vec![]));
    t.write(&[hash_add(&key, "n", 5), hash_add(&key, "n", -7)]).await;
    assert_eq!(t.store.hash_get_many(&key, &owned(&["n"])).await, Ok(vec![Some(bytes("-2"))]));
    let all: Vec<u8> = (0..=255).collect();
    let binary = sandbar_store::Effect::HashSet { key: key.clone(), fields: vec![Field::new("bin", all.clone())] };
    t.write(&[binary]).await;
    assert_eq!(t.store.hash_get_many(&key, &owned(&["bin"])).await, Ok(vec![Some(Bytes::from(all))]));
}

async fn members_of_sets(t: &Fixture) {
    let key = t.key("s");
    t.write(&[set_add(&key, &["a", "b", "a", "", "é", "7"]), set_remove(&key, &["b", "missing"])]).await;
    let mut members = t.store.set_members(&key).await.unwrap();
    members.sort();
    assert_eq!(members, ["", "7", "a", "é"]);
    assert_eq!(t.store.set_size(&key).await, Ok(4));
    assert_eq!(t.store.set_contains(&key, "a").await, Ok(true));
    assert_eq!(t.store.set_contains(&key, "").await, Ok(true));
    assert_eq!(t.store.set_contains(&key, "b").await, Ok(false));
}

async fn members_of_sorted_sets(t: &Fixture) {
    let key = t.key("z");
    t.write(&[sorted_add(&key, &[("a", 1.0), ("b", 2.0), ("a", 3.5), ("c", f64::NEG_INFINITY), ("", 1e-300)])]).await;
    assert_eq!(t.store.sorted_size(&key).await, Ok(4));
    assert_eq!(t.store.sorted_score(&key, "a").await, Ok(Some(3.5)));
    assert_eq!(t.store.sorted_score(&key, "c").await, Ok(Some(f64::NEG_INFINITY)));
    assert_eq!(t.store.sorted_score(&key, "").await, Ok(Some(1e-300)));
    assert_eq!(t.store.sorted_score(&key, "missing").await, Ok(None));
    // Scores come back as they were given, to the last bit.
    let precise = [0.1 + 0.2, f64::MAX, f64::MIN_POSITIVE, 9_007_199_254_740_993.0, -1.0 / 3.0, 1_763_692_800_000.123];
    for score in precise {
        t.write(&[sorted_add(&key, &[("precise", score)])]).await;
        assert_eq!(t.store.sorted_score(&key, "precise").await, Ok(Some(score)));
    }
    t.write(&[sorted_remove(&key, &["precise", "missing"])]).await;
    assert_eq!(t.store.sorted_size(&key).await, Ok(4));
    t.write(&[sorted_add(&key, &[("d", 4.0), ("e", 5.0)]), sorted_remove_by_score(&key, 2.0, 4.0)]).await;
    let left = t.store.sorted_range(&key, 0, -1, false).await.unwrap();
    assert_eq!(left, scored(&[("c", f64::NEG_INFINITY), ("", 1e-300), ("e", 5.0)]));
    t.write(&[sorted_remove_by_score(&key, 3.0, 2.0)]).await;
    assert_eq!(t.store.sorted_size(&key).await, Ok(3));
    t.write(&[sorted_remove_by_score(&key, f64::NEG_INFINITY, f64::INFINITY)]).await;
    assert_eq!(t.store.ttl(&key).await, Ok(Remaining::Missing));
}

async fn ranges_of_sorted_sets_by_rank(t: &Fixture) {
    let key = t.key("z");
    // Equal scores stand in the order of their bytes: capitals first, é behind all ASCII.
    t.write(&[sorted_add(&key, &[("é", 1.0), ("b", 1.0), ("B", 1.0), ("ab", 1.0), ("first", 0.0), ("last", 2.0)])])
        .await;
    let order = ["first", "B", "ab", "b", "é", "last"];
    let length = 6_i64;
    let bounds = [i64::MIN, -7, -6, -5, -2, -1, 0, 1, 4, 5, 6, 7, i64::MAX];
    for start in bounds {
        for stop in bounds {
            for reverse in [false, true] {
                let mut members = order.to_vec();
                if reverse {
                    members.reverse();
                }
                let absolute = |index: i64| if index < 0 { length.saturating_add(index) } else { index };
                let (from, to) = (absolute(start).max(0), absolute(stop).min(length - 1));
                let expected: Vec<&str> =
                    (from..=to).filter_map(|index| members.get(usize::try_from(index).ok()?).copied()).collect();
                let got = t.store.sorted_range(&key, start, stop, reverse).await.unwrap();
                let got: Vec<&str> = got.iter().map(|scored| scored.member.as_str()).collect();
                assert_eq!(got, expected, "{start} to {stop}, reverse: {reverse}");
            }
        }
    }
}

async fn ranges_of_sorted_sets_by_score(t: &Fixture) {
    let key = t.key("z");
    t.write(&[sorted_add(&key, &[("a", 1.0), ("b", 2.0), ("c", 2.0), ("d", 3.0), ("e", f64::INFINITY)])]).await;
    let cases: [(f64, f64, u32, &[&str]); 7] = [
        (1.0, 3.0, 100, &["a", "b", "c", "d"]),
        (2.0, 2.0, 100, &["b", "c"]),
        (2.0, 2.0, 1, &["b"]),
        (2.0, 2.0, 0, &[]),
        (f64::NEG_INFINITY, f64::INFINITY, 100, &["a", "b", "c", "d", "e"]),
        (3.0, 1.0, 100, &[]),
        (1.5, 2.5, u32::MAX, &["b", "c"]),
    ];
    for (min, max, count, expected) in cases {
        let got = t.store.sorted_range_by_score(&key, min, max, count).await.unwrap();
        let got: Vec<&str> = got.iter().map(|scored| scored.member.as_str()).collect();
        assert_eq!(got, expected, "{min} to {max}, {count}");
    }
}

async fn values_of_lists(t: &Fixture) {
    let key = t.key("l");
    let all: Vec<u8> = (0..=255).collect();
    t.write(&[push(&key, End::Back, &["c", "d", ""], None), push(&key, End::Front, &["b", "a"], None)]).await;
    let expected = ["a", "b", "c", "d", ""].map(bytes);
    assert_eq!(t.store.list_range(&key, 0, -1).await, Ok(expected.to_vec()));
    assert_eq!(t.store.list_length(&key).await, Ok(5));
    t.write(&[push(&key, End::Back, &["a", "x", "a"], None), list_remove(&key, "a"), list_remove(&key, "missing")])
        .await;
    assert_eq!(t.store.list_range(&key, 0, -1).await, Ok(["b", "c", "d", "", "x"].map(bytes).to_vec()));
    let value = Bytes::from(all);
    let binary =
        sandbar_store::Effect::ListPush { key: key.clone(), end: End::Front, values: vec![value.clone()], keep: None };
    t.write(&[binary]).await;
    assert_eq!(t.store.list_range(&key, 0, 0).await, Ok(vec![value]));
}

async fn lists_are_cut(t: &Fixture) {
    let (front, back) = (t.key("front"), t.key("back"));
    for n in 0..5 {
        t.write(&[
            push(&front, End::Front, &[&n.to_string()], Some(3)),
            push(&back, End::Back, &[&n.to_string()], Some(3)),
        ])
        .await;
    }
    assert_eq!(t.store.list_range(&front, 0, -1).await, Ok(["4", "3", "2"].map(bytes).to_vec()), "the newest stay");
    assert_eq!(t.store.list_range(&back, 0, -1).await, Ok(["2", "3", "4"].map(bytes).to_vec()), "the newest stay");
    t.write(&[push(&front, End::Front, &["a", "b", "c", "d"], Some(2)), push(&back, End::Back, &["a", "b"], Some(1))])
        .await;
    assert_eq!(t.store.list_range(&front, 0, -1).await, Ok(["d", "c"].map(bytes).to_vec()));
    assert_eq!(t.store.list_range(&back, 0, -1).await, Ok(["b"].map(bytes).to_vec()));
    t.write(&[push(&front, End::Front, &["e"], Some(u64::MAX))]).await;
    assert_eq!(t.store.list_length(&front).await, Ok(3));
}

async fn ranges_of_lists(t: &Fixture) {
    let key = t.key("l");
    t.write(&[push(&key, End::Back, &["0", "1", "2", "3", "4"], None)]).await;
    let cases: [(i64, i64, &[&str]); 12] = [
        (0, -1, &["0", "1", "2", "3", "4"]),
        (1, 3, &["1", "2", "3"]),
        (-2, -1, &["3", "4"]),
        (-100, 1, &["0", "1"]),
        (3, 100, &["3", "4"]),
        (4, 4, &["4"]),
        (5, 10, &[]),
        (3, 1, &[]),
        (1, -2, &["1", "2", "3"]),
        (0, -6, &[]),
        (-3, 3, &["2", "3"]),
        (i64::MIN, i64::MAX, &["0", "1", "2", "3", "4"]),
    ];
    for (start, stop, expected) in cases {
        let expected: Vec<Bytes> = expected.iter().map(|value| bytes(value)).collect();
        assert_eq!(t.store.list_range(&key, start, stop).await, Ok(expected), "{start} to {stop}");
    }
}

async fn missing_collections_are_empty(t: &Fixture) {
    let key = t.key("missing");
    assert_eq!(t.store.hash_get_many(&key, &owned(&["a"])).await, Ok(vec![None]));
    assert_eq!(t.store.hash_get_all(&key).await, Ok(vec![]));
    assert_eq!(t.store.hash_length(&key).await, Ok(0));
    assert_eq!(t.store.set_contains(&key, "a").await, Ok(false));
    assert_eq!(t.store.set_members(&key).await, Ok(vec![]));
    assert_eq!(t.store.set_size(&key).await, Ok(0));
    assert_eq!(t.store.sorted_score(&key, "a").await, Ok(None));
    assert_eq!(t.store.sorted_size(&key).await, Ok(0));
    assert_eq!(t.store.sorted_range(&key, 0, -1, false).await, Ok(vec![]));
    assert_eq!(t.store.sorted_range(&key, -5, 5, true).await, Ok(vec![]));
    assert_eq!(t.store.sorted_range_by_score(&key, 0.0, 1.0, 10).await, Ok(vec![]));
    assert_eq!(t.store.list_range(&key, 0, -1).await, Ok(vec![]));
    assert_eq!(t.store.list_range(&key, -5, 5).await, Ok(vec![]));
    assert_eq!(t.store.list_length(&key).await, Ok(0));
    t.write(&[
        hash_delete(&key, &["a"]),
        set_remove(&key, &["a"]),
        sorted_remove(&key, &["a"]),
        sorted_remove_by_score(&key, 0.0, 1.0),
        list_remove(&key, "a"),
    ])
    .await;
    assert_eq!(t.store.ttl(&key).await, Ok(Remaining::Missing));
}

async fn emptied_collections_are_gone(t: &Fixture) {
    let key = t.key("k");
    let emptied = [
        [hash_set(&key, &[("a", "1")]), hash_delete(&key, &["a"])],
        [set_add(&key, &["a"]), set_remove(&key, &["a"])],
        [sorted_add(&key, &[("a", 1.0)]), sorted_remove(&key, &["a"])],
        [push(&key, End::Back, &["a", "a"], None), list_remove(&key, "a")],
    ];
    for effects in emptied {
        t.write(&effects).await;
        assert_eq!(t.store.ttl(&key).await, Ok(Remaining::Missing), "{effects:?}");
    }
    // The name is free for another kind.
    t.write(&[add(&key, 1)]).await;
}

async fn other_kinds_are_no_collections(t: &Fixture) {
    for (kind, effect) in one_of_each(t.prefix()) {
        t.write(&[effect]).await;
        let key = t.key(kind);
        if kind != "hash" {
            assert_wrong_type(t.store.hash_get_many(&key, &owned(&["a"])).await, &key);
            assert_wrong_type(t.store.hash_get_all(&key).await, &key);
            assert_wrong_type(t.store.hash_length(&key).await, &key);
        }
        if kind != "set" {
            assert_wrong_type(t.store.set_contains(&key, "a").await, &key);
            assert_wrong_type(t.store.set_members(&key).await, &key);
            assert_wrong_type(t.store.set_size(&key).await, &key);
        }
        if kind != "sorted" {
            assert_wrong_type(t.store.sorted_score(&key, "a").await, &key);
            assert_wrong_type(t.store.sorted_size(&key).await, &key);
            assert_wrong_type(t.store.sorted_range(&key, 0, -1, false).await, &key);
            assert_wrong_type(t.store.sorted_range(&key, -3, 3, true).await, &key);
            assert_wrong_type(t.store.sorted_range_by_score(&key, 0.0, 1.0, 10).await, &key);
        }
        if kind != "list" {
            assert_wrong_type(t.store.list_range(&key, 0, -1).await, &key);
            assert_wrong_type(t.store.list_length(&key).await, &key);
        }
    }
}

async fn a_collection_keeps_its_expiry(t: &Fixture) {
    for (kind, effect) in one_of_each(t.prefix()) {
        if kind != "string" {
            let key = t.key(kind);
            t.write(&[effect.clone(), expire(&key, 50_000), effect]).await;
            assert!(matches!(t.store.ttl(&key).await, Ok(Remaining::Ms(_))), "{kind}");
        }
    }
}

async fn large_answers_are_refused(t: &Fixture) {
    let max = COLLECTION_MEMBERS_MAX;
    let (hash, set, zset, list) = (t.key("hash"), t.key("set"), t.key("zset"), t.key("list"));
    let names: Vec<String> = (0..max).map(|n| format!("{n:05}")).collect();
    let borrowed: Vec<&str> = names.iter().map(String::as_str).collect();
    for part in borrowed.chunks(1000) {
        let pairs: Vec<(&str, &str)> = part.iter().map(|&name| (name, "v")).collect();
        let scores: Vec<(&str, f64)> = part.iter().map(|&name| (name, 1.0)).collect();
        t.write(&[
            hash_set(&hash, &pairs),
            set_add(&set, part),
            sorted_add(&zset, &scores),
            push(&list, End::Back, part, None),
        ])
        .await;
    }
    let all = usize::try_from(max).unwrap();
    assert_eq!(t.store.hash_get_all(&hash).await.map(|fields| fields.len()), Ok(all));
    assert_eq!(t.store.set_members(&set).await.map(|members| members.len()), Ok(all));
    assert_eq!(t.store.sorted_range(&zset, 0, -1, false).await.map(|members| members.len()), Ok(all));
    assert_eq!(t.store.list_range(&list, 0, -1).await.map(|values| values.len()), Ok(all));
    t.write(&[
        hash_set(&hash, &[("x", "v")]),
        set_add(&set, &["x"]),
        sorted_add(&zset, &[("x", 1.0)]),
        push(&list, End::Back, &["x"], None),
    ])
    .await;
    assert_limit(t.store.hash_get_all(&hash).await);
    assert_limit(t.store.set_members(&set).await);
    assert_limit(t.store.sorted_range_by_score(&zset, 1.0, 1.0, u32::MAX).await);
    let last = i64::try_from(max).unwrap();
    for (start, stop, reverse) in [(0, -1, false), (i64::MIN, last, true), (-last - 1, -1, false)] {
        assert_limit(t.store.sorted_range(&zset, start, stop, reverse).await);
        assert_limit(t.store.list_range(&list, start, stop).await);
    }
    for (start, stop) in [(1, -1), (-last, last), (0, -2)] {
        let members = t.store.sorted_range(&zset, start, stop, false).await;
        assert_eq!(members.map(|members| members.len()), Ok(all), "{start} to {stop}");
        let values = t.store.list_range(&list, start, stop).await;
        assert_eq!(values.map(|values| values.len()), Ok(all), "{start} to {stop}");
    }
    let some = t.store.sorted_range_by_score(&zset, 1.0, 1.0, 10_000).await;
    assert_eq!(some.map(|members| members.len()), Ok(all));
}
