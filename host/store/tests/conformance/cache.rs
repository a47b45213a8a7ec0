//! Plain values: reads, expiry, conditions, integers.

use bytes::Bytes;
use sandbar_store::{Condition, End, Expiry, Remaining, StoreError};
use sandbar_test_harness::poll_until;

use super::build::*;
use super::fixture::{SOON, assert_wrong_type};
use super::{Fixture, conformance};

conformance! {
    values_are_bytes,
    other_kinds_have_no_value,
    many_values_at_once,
    a_key_expires,
    expiry_of_a_set,
    conditions_of_a_set,
    a_set_replaces_any_kind,
    any_kind_is_deleted,
    any_kind_expires,
    increments_answer_the_sum,
    increments_change_nothing_when_they_fail,
    adding_in_a_commit,
    an_expired_key_is_missing,
}

async fn values_are_bytes(t: &Fixture) {
    let (missing, empty, text, binary, large) =
        (t.key("missing"), t.key("empty"), t.key("text"), t.key("binary"), t.key("large"));
    let all: Vec<u8> = (0..=255).collect();
    let megabyte = vec![7; 1 << 20];
    let set_bytes = |key: &str, value: &[u8]| sandbar_store::Effect::Set {
        key: key.to_owned(),
        value: Bytes::copy_from_slice(value),
        expiry: Expiry::Never,
        condition: Condition::Always,
    };
    t.write(&[set(&empty, ""), set(&text, "hello"), set_bytes(&binary, &all), set_bytes(&large, &megabyte)]).await;
    assert_eq!(t.store.get(&missing).await, Ok(None));
    assert_eq!(t.store.get(&empty).await, Ok(Some(Bytes::new())));
    assert_eq!(t.store.get(&text).await, Ok(Some(bytes("hello"))));
    assert_eq!(t.store.get(&binary).await, Ok(Some(Bytes::from(all))));
    assert_eq!(t.store.get(&large).await, Ok(Some(Bytes::from(megabyte))));
}

async fn other_kinds_have_no_value(t: &Fixture) {
    for (kind, effect) in one_of_each(t.prefix()) {
        t.write(&[effect]).await;
        if kind != "string" {
            assert_wrong_type(t.store.get(&t.key(kind)).await, &t.key(kind));
            assert_wrong_type(t.store.increment(&t.key(kind), 1).await, &t.key(kind));
        }
    }
}

async fn many_values_at_once(t: &Fixture) {
    let (a, hash, empty, missing) = (t.key("a"), t.key("hash"), t.key("empty"), t.key("missing"));
    t.write(&[set(&a, "1"), hash_set(&hash, &[("x", "y")]), set(&empty, "")]).await;
    let values = t.store.get_many(&[a.clone(), missing, hash, empty, a]).await.unwrap();
    assert_eq!(values, [Some(bytes("1")), None, None, Some(Bytes::new()), Some(bytes("1"))]);
    assert_eq!(t.store.get_many(&[]).await, Ok(vec![]));
}

async fn a_key_expires(t: &Fixture) {
    let key = t.key("k");
    assert_eq!(t.store.ttl(&key).await, Ok(Remaining::Missing));
    t.write(&[set(&key, "v")]).await;
    assert_eq!(t.store.ttl(&key).await, Ok(Remaining::Never));
    t.write(&[set_with(&key, "v", Expiry::TtlMs(50_000), Condition::Always)]).await;
    assert!(matches!(t.store.ttl(&key).await, Ok(Remaining::Ms(40_000..=50_000))));
    t.write(&[set_with(&key, "v", Expiry::TtlMs(20), Condition::Always)]).await;
    poll_until(SOON, "the key expires", async || t.store.get(&key).await == Ok(None)).await;
    assert_eq!(t.store.ttl(&key).await, Ok(Remaining::Missing));
    // The longest that a plugin may ask for.
    t.write(&[set_with(&key, "v", Expiry::TtlMs(31_536_000_000), Condition::Always)]).await;
    assert!(matches!(t.store.ttl(&key).await, Ok(Remaining::Ms(31_535_000_000..=31_536_000_000))));
}

async fn expiry_of_a_set(t: &Fixture) {
    let key = t.key("k");
    let long = Expiry::TtlMs(50_000);
    t.write(&[set_with(&key, "1", long, Condition::Always), set_with(&key, "2", Expiry::KeepTtl, Condition::Always)])
        .await;
    assert!(matches!(t.store.ttl(&key).await, Ok(Remaining::Ms(40_000..=50_000))));
    assert_eq!(t.store.get(&key).await, Ok(Some(bytes("2"))));
    t.write(&[set(&key, "3")]).await;
    assert_eq!(t.store.ttl(&key).await, Ok(Remaining::Never));
    let new = t.key("new");
    t.write(&[set_with(&new, "1", Expiry::KeepTtl, Condition::Always)]).await;
    assert_eq!(t.store.ttl(&new).await, Ok(Remaining::Never));
}

async fn conditions_of_a_set(t: &Fixture) {
    let (present, absent, hash) = (t.key("present"), t.key("absent"), t.key("hash"));
    t.write(&[set_with(&present, "1", Expiry::TtlMs(50_000), Condition::Always), hash_set(&hash, &[("a", "1")])]).await;
    t.write(&[
        set_with(&present, "2", Expiry::Never, Condition::IfAbsent),
        set_with(&absent, "2", Expiry::Never, Condition::IfPresent),
        set_with(&hash, "2", Expiry::Never, Condition::IfAbsent),
    ])
    .await;
    assert_eq!(t.store.get(&present).await, Ok(Some(bytes("1"))));
    assert!(matches!(t.store.ttl(&present).await, Ok(Remaining::Ms(_))), "a set that is not done leaves the expiry");
    assert_eq!(t.store.get(&absent).await, Ok(None));
    assert_eq!(t.store.hash_length(&hash).await, Ok(1));
    t.write(&[
        set_with(&present, "3", Expiry::KeepTtl, Condition::IfPresent),
        set_with(&absent, "3", Expiry::TtlMs(50_000), Condition::IfAbsent),
        set_with(&hash, "3", Expiry::Never, Condition::IfPresent),
    ])
    .await;
    for key in [&present, &absent, &hash] {
        assert_eq!(t.store.get(key).await, Ok(Some(bytes("3"))), "{key}");
    }
    assert!(matches!(t.store.ttl(&present).await, Ok(Remaining::Ms(_))));
    assert!(matches!(t.store.ttl(&absent).await, Ok(Remaining::Ms(_))));
}

async fn a_set_replaces_any_kind(t: &Fixture) {
    for (kind, effect) in one_of_each(t.prefix()) {
        let key = t.key(kind);
        t.write(&[effect, expire(&key, 50_000), set(&key, "new")]).await;
        assert_eq!(t.store.get(&key).await, Ok(Some(bytes("new"))), "{kind}");
        assert_eq!(t.store.ttl(&key).await, Ok(Remaining::Never), "{kind}");
    }
}

async fn any_kind_is_deleted(t: &Fixture) {
    for (kind, effect) in one_of_each(t.prefix()) {
        let key = t.key(kind);
        t.write(&[effect]).await;
        assert_eq!(t.store.ttl(&key).await, Ok(Remaining::Never), "{kind}");
        t.write(&[delete(&key), delete(&key)]).await;
        assert_eq!(t.store.ttl(&key).await, Ok(Remaining::Missing), "{kind}");
    }
}

async fn any_kind_expires(t: &Fixture) {
    t.write(&[expire(&t.key("missing"), 1000)]).await;
    assert_eq!(t.store.ttl(&t.key("missing")).await, Ok(Remaining::Missing));
    for (kind, effect) in one_of_each(t.prefix()) {
        let key = t.key(kind);
        t.write(&[effect, expire(&key, 50_000)]).await;
        assert!(matches!(t.store.ttl(&key).await, Ok(Remaining::Ms(40_000..=50_000))), "{kind}");
        t.write(&[expire(&key, 20)]).await;
        poll_until(SOON, kind, async || t.store.ttl(&key).await == Ok(Remaining::Missing)).await;
    }
}

async fn increments_answer_the_sum(t: &Fixture) {
    let key = t.key("n");
    assert_eq!(t.store.increment(&key, 5).await, Ok(5));
    assert_eq!(t.store.increment(&key, -7).await, Ok(-2));
    assert_eq!(t.store.increment(&key, 0).await, Ok(-2));
    assert_eq!(t.store.get(&key).await, Ok(Some(bytes("-2"))));
    t.write(&[expire(&key, 50_000)]).await;
    assert_eq!(t.store.increment(&key, 1).await, Ok(-1));
    assert!(matches!(t.store.ttl(&key).await, Ok(Remaining::Ms(_))), "the time to live is kept");
    assert_eq!(t.store.increment(&t.key("zero"), 0).await, Ok(0));
    assert_eq!(t.store.get(&t.key("zero")).await, Ok(Some(bytes("0"))), "a missing key is made");
    assert_eq!(t.store.increment(&t.key("min"), i64::MIN).await, Ok(i64::MIN));
    t.write(&[set(&t.key("max"), "9223372036854775806")]).await;
    assert_eq!(t.store.increment(&t.key("max"), 1).await, Ok(i64::MAX));
}

async fn increments_change_nothing_when_they_fail(t: &Fixture) {
    let key = t.key("n");
    let no_integers = ["", " 1", "1 ", "+1", "01", "-0", "1.0", "1e3", "0x1", "-", "text", "9223372036854775808"];
    for text in no_integers {
        t.write(&[set(&key, text)]).await;
        assert_wrong_type(t.store.increment(&key, 1).await, &key);
        assert_eq!(t.store.get(&key).await, Ok(Some(bytes(text))), "`{text}` is left as it was");
    }
    for (value, by) in [(i64::MAX, 1), (i64::MIN, -1), (-1, i64::MIN), (1, i64::MAX)] {
        t.write(&[set(&key, &value.to_string())]).await;
        let answer = t.store.increment(&key, by).await;
        assert!(matches!(answer, Err(StoreError::Invalid(_))), "{value} + {by}: {answer:?}");
        assert_eq!(t.store.get(&key).await, Ok(Some(bytes(&value.to_string()))));
    }
}

async fn adding_in_a_commit(t: &Fixture) {
    let key = t.key("n");
    t.write(&[add(&key, 2), add(&key, 3), add(&key, i64::MIN)]).await;
    assert_eq!(t.store.get(&key).await, Ok(Some(bytes(&(i64::MIN + 5).to_string()))));
    t.write(&[set_with(&key, "1", Expiry::TtlMs(50_000), Condition::Always), add(&key, 1)]).await;
    assert_eq!(t.store.get(&key).await, Ok(Some(bytes("2"))));
    assert!(matches!(t.store.ttl(&key).await, Ok(Remaining::Ms(_))), "the time to live is kept");
}

async fn an_expired_key_is_missing(t: &Fixture) {
    let (plain, counter, hash, list) = (t.key("plain"), t.key("counter"), t.key("hash"), t.key("list"));
    t.write(&[set(&plain, "old"), set(&counter, "100"), hash_set(&hash, &[("old", "1")])]).await;
    t.write(&[push(&list, End::Back, &["old"], None)]).await;
    t.write(&[expire(&plain, 1), expire(&counter, 1), expire(&hash, 1), expire(&list, 1)]).await;
    poll_until(SOON, "all have expired", async || {
        let mut missing = 0;
        for key in [&plain, &counter, &hash, &list] {
            missing += usize::from(t.store.ttl(key).await == Ok(Remaining::Missing));
        }
        missing == 4
    })
    .await;
    t.write(&[
        set_with(&plain, "new", Expiry::Never, Condition::IfAbsent),
        add(&counter, 1),
        hash_set(&hash, &[("new", "1")]),
        push(&list, End::Back, &["new"], None),
    ])
    .await;
    assert_eq!(t.store.get(&plain).await, Ok(Some(bytes("new"))));
    assert_eq!(t.store.get(&counter).await, Ok(Some(bytes("1"))));
    assert_eq!(t.store.hash_get_all(&hash).await, Ok(fields(&[("new", "1")])));
    assert_eq!(t.store.list_range(&list, 0, -1).await, Ok(vec![bytes("new")]));
    assert_eq!(t.store.ttl(&hash).await, Ok(Remaining::Never), "the old expiry is gone with the old key");
}
