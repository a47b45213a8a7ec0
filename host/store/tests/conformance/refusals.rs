//! Effects that a store refuses, while the rest of the commit stands.

use sandbar_store::{Effect, End, Settlement};

use super::build::*;
use super::{Fixture, conformance};

conformance! {
    every_effect_on_a_key_of_another_kind,
    integers_that_overflow_or_are_none,
    a_refused_effect_leaves_the_others,
    a_refused_effect_leaves_the_acknowledgement,
    effects_without_members_do_nothing,
}

/// The indexes of the refused effects, each of which must name its key.
async fn refused(t: &Fixture, effects: &[Effect]) -> Vec<usize> {
    let committed = t.try_write(effects).await.expect("a commit");
    for refusal in &committed.refused {
        let key = effects[refusal.effect].key();
        assert!(refusal.error.contains(key), "`{}` does not name `{key}`", refusal.error);
    }
    committed.refused.into_iter().map(|refusal| refusal.effect).collect()
}

async fn every_effect_on_a_key_of_another_kind(t: &Fixture) {
    for (kind, effect) in one_of_each(t.prefix()) {
        t.write(&[effect]).await;
        let key = &t.key(kind);
        let writes: Vec<(&str, Effect)> = vec![
            ("string", add(key, 1)),
            ("stream", append(key, &[("a", "1")])),
            ("stream", remove(key, &[sandbar_store::EntryId::ZERO])),
            ("hash", hash_set(key, &[("a", "1")])),
            ("hash", hash_delete(key, &["missing"])),
            ("hash", hash_add(key, "n", 1)),
            ("set", set_add(key, &["a"])),
            ("set", set_remove(key, &["missing"])),
            ("sorted", sorted_add(key, &[("a", 1.0)])),
            ("sorted", sorted_remove(key, &["missing"])),
            ("sorted", sorted_remove_by_score(key, 5.0, 6.0)),
            ("list", push(key, End::Back, &["a"], None)),
            // Two commands to a server, but one refusal.
            ("list", push(key, End::Front, &["a"], Some(5))),
            ("list", list_remove(key, "missing")),
        ];
        let writes: Vec<Effect> =
            writes.into_iter().filter(|(wanted, _)| *wanted != kind).map(|(_, effect)| effect).collect();
        let all: Vec<usize> = (0..writes.len()).collect();
        assert_eq!(refused(t, &writes).await, all, "on a {kind}");
    }
    // What they hold is as it was.
    assert_eq!(t.store.get(&t.key("string")).await, Ok(Some(bytes("text"))));
    assert_eq!(t.store.hash_get_all(&t.key("hash")).await, Ok(fields(&[("a", "1")])));
    assert_eq!(t.store.set_members(&t.key("set")).await, Ok(owned(&["a"])));
    assert_eq!(t.store.sorted_range(&t.key("sorted"), 0, -1, false).await, Ok(scored(&[("a", 1.0)])));
    assert_eq!(t.store.list_range(&t.key("list"), 0, -1).await, Ok(vec![bytes("a")]));
    assert_eq!(t.store.length(&t.key("stream")).await, Ok(1));
}

async fn integers_that_overflow_or_are_none(t: &Fixture) {
    let (max, text, hash) = (t.key("max"), t.key("text"), t.key("hash"));
    let max_text = i64::MAX.to_string();
    t.write(&[set(&max, &max_text), set(&text, "1.5")]).await;
    t.write(&[hash_set(&hash, &[("max", &max_text), ("text", "x"), ("padded", " 1")])]).await;
    let effects = [
        add(&max, 1),
        add(&max, -1),
        add(&max, 2),
        add(&text, 1),
        hash_add(&hash, "max", 1),
        hash_add(&hash, "max", -1),
        hash_add(&hash, "text", 1),
        hash_add(&hash, "padded", 1),
        hash_add(&hash, "new", i64::MIN),
    ];
    assert_eq!(refused(t, &effects).await, [0, 2, 3, 4, 6, 7]);
    let max = Some(bytes(&(i64::MAX - 1).to_string()));
    assert_eq!(t.store.get(&t.key("max")).await, Ok(max.clone()));
    let expected = vec![max, Some(bytes("x")), Some(bytes(" 1")), Some(bytes(&i64::MIN.to_string()))];
    assert_eq!(t.store.hash_get_many(&hash, &owned(&["max", "text", "padded", "new"])).await, Ok(expected));
}

async fn a_refused_effect_leaves_the_others(t: &Fixture) {
    let (text, before, after) = (t.key("text"), t.key("before"), t.key("after"));
    t.write(&[set(&text, "no hash")]).await;
    let effects = [add(&before, 1), hash_set(&text, &[("a", "1")]), add(&after, 1), set(&text, "7"), add(&text, 1)];
    assert_eq!(refused(t, &effects).await, [1]);
    assert_eq!(t.store.get(&before).await, Ok(Some(bytes("1"))));
    assert_eq!(t.store.get(&after).await, Ok(Some(bytes("1"))));
    assert_eq!(t.store.get(&text).await, Ok(Some(bytes("8"))), "effects are made in their order");
}

async fn a_refused_effect_leaves_the_acknowledgement(t: &Fixture) {
    let source = t.source().await;
    let ids = t.feed(&source.stream, 2).await;
    let consumer = t.consumer(&source, "c").await;
    let (epoch, _) = t.read(&consumer, 2).await;
    t.write(&[set(&t.key("text"), "no hash")]).await;
    let settlement = Settlement { done: ids, ..Settlement::default() };
    let effects = [hash_set(&t.key("text"), &[("a", "1")]), add(&t.key("n"), 1)];
    let committed = t.settle(&consumer, epoch, &effects, settlement).await.expect("a commit");
    assert_eq!(committed.refused.len(), 1);
    assert_eq!(t.pending_count(&source).await, 0);
    assert_eq!(t.store.get(&t.key("n")).await, Ok(Some(bytes("1"))));
}

async fn effects_without_members_do_nothing(t: &Fixture) {
    let key = &t.key("k");
    let effects = [
        append(key, &[]),
        remove(key, &[]),
        hash_set(key, &[]),
        hash_delete(key, &[]),
        set_add(key, &[]),
        set_remove(key, &[]),
        sorted_add(key, &[]),
        sorted_remove(key, &[]),
        push(key, End::Back, &[], Some(1)),
    ];
    t.write(&effects).await;
    t.write(&[]).await;
    assert_eq!(t.store.ttl(key).await, Ok(sandbar_store::Remaining::Missing));
}
