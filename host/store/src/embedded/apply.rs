//! What each effect does to the keys and channels.
//!
//! An effect that is refused has changed nothing. One that gives nothing to add or to remove does nothing, whatever
//! its key holds.

use bytes::Bytes;

use super::log::Log;
use super::sorted::Sorted;
use super::value::{Hash, List, Plain, Set};
use super::{State, cache, integer};
use crate::{Condition, Effect, End, Expiry, Scored, StoreError};

/// The largest time to live that Redis takes: its instant of expiry is a signed number of 64 bits.
const EXPIRES_MS_MAX: u64 = i64::MAX as u64;

/// Applies one effect.
pub(super) fn apply(state: &mut State, effect: &Effect) -> Result<(), StoreError> {
    let keys = &mut state.keys;
    match effect {
        effect if is_empty(effect) => Ok(()),
        Effect::Set { key, value, expiry, condition } => set(state, key, value, *expiry, *condition),
        Effect::Delete { key } => {
            keys.delete(key);
            Ok(())
        }
        // As in Redis; nothing that a plugin may ask for.
        Effect::Expire { key, ttl_ms: 0 } => {
            keys.delete(key);
            Ok(())
        }
        Effect::Expire { key, ttl_ms } => {
            let expires_ms = expires_ms(keys.now_ms(), key, *ttl_ms)?;
            keys.expire(key, expires_ms);
            Ok(())
        }
        Effect::Add { key, by } => cache::add(keys, key, *by).map(|_| ()),
        Effect::Append { stream, fields, retention } => {
            let now_ms = keys.now_ms();
            keys.update(stream, |log: &mut Log| log.append(now_ms, fields.clone(), *retention)).map(|_| ())
        }
        Effect::Remove { stream, ids } => existing(state, stream, |log: &mut Log| log.remove(ids)),
        Effect::Push { queue, payloads, options } => state.push(queue, payloads, options),
        Effect::Publish { channel, payload } => {
            state.channels.publish(channel, payload);
            Ok(())
        }
        Effect::HashSet { key, fields } => keys.update(key, |hash: &mut Hash| {
            hash.extend(fields.iter().map(|field| (field.name.clone(), field.value.clone())));
            Ok(())
        }),
        Effect::HashDelete { key, names } => existing(state, key, |hash: &mut Hash| {
            names.iter().for_each(|name| {
                hash.remove(name);
            });
        }),
        Effect::HashAdd { key, name, by } => keys.update(key, |hash: &mut Hash| {
            let sum = integer::add(hash.get(name), *by, &format!("`{name}` of `{key}`"))?;
            hash.insert(name.clone(), integer::format(sum));
            Ok(())
        }),
        Effect::SetAdd { key, members } => keys.update(key, |set: &mut Set| {
            set.extend(members.iter().cloned());
            Ok(())
        }),
        Effect::SetRemove { key, members } => existing(state, key, |set: &mut Set| {
            members.iter().for_each(|member| {
                set.remove(member);
            });
        }),
        Effect::SortedAdd { key, members } => sorted_add(state, key, members),
        Effect::SortedRemove { key, members } => existing(state, key, |sorted: &mut Sorted| {
            members.iter().for_each(|member| sorted.remove(member));
        }),
        Effect::SortedRemoveByScore { key, min, max } => {
            numbers(key, [*min, *max])?;
            existing(state, key, |sorted: &mut Sorted| sorted.remove_by_score(*min, *max))
        }
        Effect::ListPush { key, end, values, keep } => list_push(state, key, *end, values, *keep),
        Effect::ListRemove { key, value } => {
            existing(state, key, |list: &mut List| list.retain(|other| other != value))
        }
    }
}

fn set(state: &mut State, key: &str, value: &Plain, expiry: Expiry, condition: Condition) -> Result<(), StoreError> {
    let keys = &mut state.keys;
    let expires_ms = match expiry {
        Expiry::TtlMs(ttl_ms) => Some(expires_ms(keys.now_ms(), key, ttl_ms)?),
        Expiry::Never | Expiry::KeepTtl => None,
    };
    let is_set = match condition {
        Condition::Always => true,
        Condition::IfAbsent => !keys.contains(key),
        Condition::IfPresent => keys.contains(key),
    };
    if is_set {
        keys.set(key, value.clone(), expiry == Expiry::KeepTtl);
        if let Some(expires_ms) = expires_ms {
            keys.expire(key, expires_ms);
        }
    }
    Ok(())
}

fn sorted_add(state: &mut State, key: &str, members: &[Scored]) -> Result<(), StoreError> {
    numbers(key, members.iter().map(|scored| scored.score))?;
    state.keys.update(key, |sorted: &mut Sorted| {
        members.iter().for_each(|scored| sorted.add(&scored.member, scored.score));
        Ok(())
    })
}

fn list_push(state: &mut State, key: &str, end: End, values: &[Bytes], keep: Option<u64>) -> Result<(), StoreError> {
    let keep = keep.map_or(usize::MAX, |keep| usize::try_from(keep).unwrap_or(usize::MAX));
    state.keys.update(key, |list: &mut List| {
        for value in values {
            match end {
                End::Front => list.push_front(value.clone()),
                End::Back => list.push_back(value.clone()),
            }
        }
        match end {
            End::Front => list.truncate(keep),
            End::Back => drop(list.drain(..list.len().saturating_sub(keep))),
        }
        Ok(())
    })
}

/// Changes a value where it is there.
fn existing<T: super::value::Kind>(
    state: &mut State,
    key: &str,
    change: impl FnOnce(&mut T),
) -> Result<(), StoreError> {
    let change = |value: &mut T| {
        change(value);
        Ok(())
    };
    state.keys.update_existing(key, change).map(Option::unwrap_or_default)
}

fn expires_ms(now_ms: u64, key: &str, ttl_ms: u64) -> Result<u64, StoreError> {
    match now_ms.checked_add(ttl_ms) {
        Some(expires_ms) if ttl_ms > 0 && expires_ms <= EXPIRES_MS_MAX => Ok(expires_ms),
        _ => Err(StoreError::Invalid(format!("`{key}` cannot expire after {ttl_ms} ms"))),
    }
}

/// Whether the effect gives nothing to add or to remove.
fn is_empty(effect: &Effect) -> bool {
    match effect {
        Effect::Append { fields, .. } | Effect::HashSet { fields, .. } => fields.is_empty(),
        Effect::Remove { ids, .. } => ids.is_empty(),
        Effect::HashDelete { names, .. } => names.is_empty(),
        Effect::SetAdd { members, .. } | Effect::SetRemove { members, .. } | Effect::SortedRemove { members, .. } => {
            members.is_empty()
        }
        Effect::SortedAdd { members, .. } => members.is_empty(),
        Effect::ListPush { values, .. } => values.is_empty(),
        Effect::Push { payloads, .. } => payloads.is_empty(),
        Effect::Set { .. }
        | Effect::Delete { .. }
        | Effect::Expire { .. }
        | Effect::Add { .. }
        | Effect::Publish { .. }
        | Effect::HashAdd { .. }
        | Effect::SortedRemoveByScore { .. }
        | Effect::ListRemove { .. } => false,
    }
}

fn numbers(key: &str, scores: impl IntoIterator<Item = f64>) -> Result<(), StoreError> {
    if scores.into_iter().any(f64::is_nan) {
        return Err(StoreError::Invalid(format!("a score given for `{key}` is not a number")));
    }
    Ok(())
}
