//! Short ways to write effects down.

use bytes::Bytes;
use sandbar_store::{Condition, Effect, End, EntryId, Expiry, Field, Retention, Scored};

pub(crate) fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

pub(crate) fn fields(pairs: &[(&str, &str)]) -> Vec<Field> {
    pairs.iter().map(|&(name, value)| Field::new(name, value.as_bytes().to_vec())).collect()
}

pub(crate) fn scored(pairs: &[(&str, f64)]) -> Vec<Scored> {
    pairs.iter().map(|&(member, score)| Scored { member: member.to_owned(), score }).collect()
}

pub(crate) fn bytes(value: &str) -> Bytes {
    Bytes::copy_from_slice(value.as_bytes())
}

pub(crate) fn set(key: &str, value: &str) -> Effect {
    set_with(key, value, Expiry::Never, Condition::Always)
}

pub(crate) fn set_with(key: &str, value: &str, expiry: Expiry, condition: Condition) -> Effect {
    Effect::Set { key: key.to_owned(), value: bytes(value), expiry, condition }
}

pub(crate) fn delete(key: &str) -> Effect {
    Effect::Delete { key: key.to_owned() }
}

pub(crate) fn expire(key: &str, ttl_ms: u64) -> Effect {
    Effect::Expire { key: key.to_owned(), ttl_ms }
}

pub(crate) fn add(key: &str, by: i64) -> Effect {
    Effect::Add { key: key.to_owned(), by }
}

pub(crate) fn append(stream: &str, pairs: &[(&str, &str)]) -> Effect {
    append_keeping(stream, pairs, Retention::Unlimited)
}

pub(crate) fn append_keeping(stream: &str, pairs: &[(&str, &str)], retention: Retention) -> Effect {
    Effect::Append { stream: stream.to_owned(), fields: fields(pairs), retention }
}

pub(crate) fn remove(stream: &str, ids: &[EntryId]) -> Effect {
    Effect::Remove { stream: stream.to_owned(), ids: ids.to_vec() }
}

pub(crate) fn publish(channel: &str, payload: &str) -> Effect {
    Effect::Publish { channel: channel.to_owned(), payload: bytes(payload) }
}

pub(crate) fn hash_set(key: &str, pairs: &[(&str, &str)]) -> Effect {
    Effect::HashSet { key: key.to_owned(), fields: fields(pairs) }
}

pub(crate) fn hash_delete(key: &str, names: &[&str]) -> Effect {
    Effect::HashDelete { key: key.to_owned(), names: owned(names) }
}

pub(crate) fn hash_add(key: &str, name: &str, by: i64) -> Effect {
    Effect::HashAdd { key: key.to_owned(), name: name.to_owned(), by }
}

pub(crate) fn set_add(key: &str, members: &[&str]) -> Effect {
    Effect::SetAdd { key: key.to_owned(), members: owned(members) }
}

pub(crate) fn set_remove(key: &str, members: &[&str]) -> Effect {
    Effect::SetRemove { key: key.to_owned(), members: owned(members) }
}

pub(crate) fn sorted_add(key: &str, pairs: &[(&str, f64)]) -> Effect {
    Effect::SortedAdd { key: key.to_owned(), members: scored(pairs) }
}

pub(crate) fn sorted_remove(key: &str, members: &[&str]) -> Effect {
    Effect::SortedRemove { key: key.to_owned(), members: owned(members) }
}

pub(crate) fn sorted_remove_by_score(key: &str, min: f64, max: f64) -> Effect {
    Effect::SortedRemoveByScore { key: key.to_owned(), min, max }
}

pub(crate) fn push(key: &str, end: End, values: &[&str], keep: Option<u64>) -> Effect {
    let values = values.iter().map(|value| bytes(value)).collect();
    Effect::ListPush { key: key.to_owned(), end, values, keep }
}

pub(crate) fn list_remove(key: &str, value: &str) -> Effect {
    Effect::ListRemove { key: key.to_owned(), value: bytes(value) }
}

/// One key of each kind, with the word for the kind; `prefix` is what the keys begin with.
pub(crate) fn one_of_each(prefix: &str) -> Vec<(&'static str, Effect)> {
    let key = |kind: &str| format!("{prefix}{kind}");
    vec![
        ("string", set(&key("string"), "text")),
        ("hash", hash_set(&key("hash"), &[("a", "1")])),
        ("set", set_add(&key("set"), &["a"])),
        ("sorted", sorted_add(&key("sorted"), &[("a", 1.0)])),
        ("list", push(&key("list"), End::Back, &["a"], None)),
        ("stream", append(&key("stream"), &[("a", "1")])),
    ]
}
