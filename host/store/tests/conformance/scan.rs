//! Walks over keys by pattern.

use std::collections::BTreeSet;

use sandbar_store::Remaining;
use sandbar_test_harness::poll_until;

use super::build::*;
use super::fixture::SOON;
use super::{Fixture, conformance};

conformance! {
    all_kinds_of_keys_are_found,
    patterns_are_globs,
    a_scan_in_small_steps_finds_all,
    expired_keys_are_not_found,
}

/// The names of all keys that match, without the prefix, found in steps of `count`.
async fn scan(t: &Fixture, pattern: &str, count: u32) -> BTreeSet<String> {
    let pattern = t.key(pattern);
    let (mut found, mut cursor) = (BTreeSet::new(), 0);
    for _ in 0..100_000 {
        let page = t.store.scan(&pattern, cursor, count).await.expect("a page");
        found.extend(page.keys.iter().map(|key| key.strip_prefix(t.prefix()).expect("our prefix").to_owned()));
        match page.next {
            Some(next) => cursor = next,
            None => return found,
        }
    }
    panic!("the scan of {pattern} does not end");
}

async fn all_kinds_of_keys_are_found(t: &Fixture) {
    assert_eq!(scan(t, "*", 100).await, BTreeSet::new());
    let mut kinds = BTreeSet::new();
    for (kind, effect) in one_of_each(t.prefix()) {
        t.write(&[effect]).await;
        kinds.insert(kind.to_owned());
    }
    assert_eq!(scan(t, "*", 100).await, kinds);
}

async fn patterns_are_globs(t: &Fixture) {
    let names = ["a", "b", "ab", "abc", "a*", "a?", "a[", "a\\b", "é", "A", "a/b", "x-y", "", "1", "9"];
    for name in names {
        t.write(&[set(&t.key(name), "v")]).await;
    }
    let cases: [(&str, &[&str]); 18] = [
        ("*", &names),
        ("a", &["a"]),
        ("a*", &["a", "ab", "abc", "a*", "a?", "a[", "a\\b", "a/b"]),
        ("a?", &["ab", "a*", "a?", "a["]),
        ("?", &["a", "b", "A", "1", "9"]),
        ("??", &["ab", "a*", "a?", "a[", "é"]),
        ("[ab]", &["a", "b"]),
        ("[a-c]", &["a", "b"]),
        ("[c-a]", &["a", "b"]),
        ("[^a]", &["b", "A", "1", "9"]),
        ("[0-9]", &["1", "9"]),
        ("a\\*", &["a*"]),
        ("a\\?", &["a?"]),
        ("a\\[", &["a["]),
        ("a\\\\b", &["a\\b"]),
        ("a[*]", &["a*"]),
        ("*b*", &["b", "ab", "abc", "a\\b", "a/b"]),
        ("", &[""]),
    ];
    for (pattern, matches) in cases {
        let expected: BTreeSet<String> = matches.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(scan(t, pattern, 1000).await, expected, "{pattern}");
    }
}

async fn a_scan_in_small_steps_finds_all(t: &Fixture) {
    let effects: Vec<_> = (0..300).map(|n| set(&t.key(&format!("k{n}")), "v")).collect();
    t.write(&effects).await;
    let expected: BTreeSet<String> = (0..300).map(|n| format!("k{n}")).collect();
    for count in [1, 7, 100, 1000] {
        assert_eq!(scan(t, "k*", count).await, expected, "in steps of {count}");
    }
    // A cursor that no scan has answered is no error; the scan ends somewhere.
    let page = t.store.scan(&t.key("*"), u64::from(u32::MAX), 10).await;
    assert!(page.is_ok(), "{page:?}");
}

async fn expired_keys_are_not_found(t: &Fixture) {
    t.write(&[set(&t.key("stays"), "v"), set(&t.key("goes"), "v"), expire(&t.key("goes"), 1)]).await;
    poll_until(SOON, "it has expired", async || t.store.ttl(&t.key("goes")).await == Ok(Remaining::Missing)).await;
    assert_eq!(scan(t, "*", 100).await, BTreeSet::from(["stays".to_owned()]));
}
