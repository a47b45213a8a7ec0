//! What becomes of two writes that follow each other on one key.

use bytes::Bytes;

use crate::{Condition, Effect, Expiry};

/// The most fields, members or values that a write gets by being combined; as many as a plugin can give to one.
pub const MEMBERS_MAX: usize = 1_000;

/// Among so many fields or members an older one of the same name is looked for; further ones are put behind, where
/// they win all the same.
const SEARCHED_MAX: usize = 16;

/// What became of two writes.
pub(super) enum Joined {
    /// The earlier one does the work of both.
    Whole,
    /// The later one, given back, does the work of both.
    Replaces(Effect),
    /// Both are needed, and the later one, given back, would do the same before the earlier one.
    Beside(Effect),
    /// Both are needed, in this order; the later one is given back.
    Apart(Effect),
}

/// Joins a write with the one before it on the same key.
pub(super) fn join(previous: &mut Effect, next: Effect) -> Joined {
    match (previous, next) {
        (Effect::Set { .. } | Effect::Delete { .. } | Effect::Expire { .. }, next) if overwrites(&next) => {
            Joined::Replaces(next)
        }
        (
            Effect::Set { expiry, condition: Condition::Always, .. },
            Effect::Set { key, value, expiry: Expiry::KeepTtl, condition: Condition::Always },
        ) => Joined::Replaces(Effect::Set { key, value, expiry: *expiry, condition: Condition::Always }),
        (Effect::Set { expiry, condition: Condition::Always, .. }, Effect::Expire { ttl_ms, .. }) => {
            *expiry = Expiry::TtlMs(ttl_ms);
            Joined::Whole
        }
        (Effect::Expire { ttl_ms: earlier, .. }, Effect::Expire { ttl_ms, .. }) => {
            *earlier = ttl_ms;
            Joined::Whole
        }
        (Effect::Add { by: sum, .. }, next @ Effect::Add { by, .. }) => add(sum, by, next),
        (Effect::HashAdd { name: earlier, by: sum, .. }, next) => match next {
            Effect::HashAdd { ref name, by, .. } if name == earlier => add(sum, by, next),
            next @ Effect::HashAdd { .. } => Joined::Beside(next),
            next => Joined::Apart(next),
        },
        (Effect::HashSet { fields, .. }, Effect::HashSet { fields: more, .. })
            if fields.len() + more.len() <= MEMBERS_MAX =>
        {
            merge(fields, more, |old, new| old.name == new.name)
        }
        (Effect::SetAdd { members, .. }, Effect::SetAdd { members: more, .. })
            if members.len() + more.len() <= MEMBERS_MAX =>
        {
            merge(members, more, |old, new| old == new)
        }
        (Effect::SortedAdd { members, .. }, Effect::SortedAdd { members: more, .. })
            if members.len() + more.len() <= MEMBERS_MAX =>
        {
            merge(members, more, |old, new| old.member == new.member)
        }
        (Effect::Push { payloads, options: earlier, .. }, Effect::Push { payloads: more, options, .. })
            if earlier.is_plain() && options.is_plain() && payloads.len() + more.len() <= MEMBERS_MAX =>
        {
            payloads.extend(more);
            Joined::Whole
        }
        (
            Effect::ListPush { end: earlier, values, keep, .. },
            Effect::ListPush { end, values: more, keep: keep_then, .. },
        ) if *earlier == end && is_cut_alike(*keep, keep_then, values.len() + more.len()) => {
            *keep = keep_then;
            values.extend(more);
            // Not each time, so that a long row of pushes takes time in proportion to its length.
            if keep_then.is_some_and(|keep| values.len() as u64 / 2 > keep) {
                trim_values(values, keep_then);
            }
            Joined::Whole
        }
        (_, next) => Joined::Apart(next),
    }
}

/// Drops from a push what it would cut off itself.
pub(super) fn trim(effect: &mut Effect) {
    if let Effect::ListPush { values, keep, .. } = effect {
        trim_values(values, *keep);
    }
}

/// Whether nothing is left of a plain value and of a time to live that were set before.
fn overwrites(effect: &Effect) -> bool {
    match effect {
        Effect::Delete { .. } => true,
        Effect::Set { expiry, condition, .. } => *expiry != Expiry::KeepTtl && *condition == Condition::Always,
        _ => false,
    }
}

/// Whether a list cut after two pushes is the same as one cut after each. A first cut that is shorter than the second
/// must be made in its place.
fn is_cut_alike(keep: Option<u64>, keep_then: Option<u64>, values: usize) -> bool {
    let is_same = keep.is_none_or(|keep| keep_then.is_some_and(|keep_then| keep_then <= keep));
    let values_left = keep_then.map_or(values as u64, |keep_then| keep_then.min(values as u64));
    is_same && keep_then != Some(0) && values_left <= MEMBERS_MAX as u64
}

fn trim_values(values: &mut Vec<Bytes>, keep: Option<u64>) {
    let keep = keep.map_or(usize::MAX, |keep| usize::try_from(keep.max(1)).unwrap_or(usize::MAX));
    values.drain(..values.len().saturating_sub(keep));
}

fn add(sum: &mut i64, by: i64, next: Effect) -> Joined {
    match sum.checked_add(by) {
        Some(both) => {
            *sum = both;
            Joined::Whole
        }
        None => Joined::Apart(next),
    }
}

/// Puts parts behind others; one that is there already is replaced. Of two equal ones the later wins when they are
/// applied.
fn merge<T>(parts: &mut Vec<T>, more: Vec<T>, is_same: impl Fn(&T, &T) -> bool) -> Joined {
    for new in more {
        let old = if parts.len() <= SEARCHED_MAX { parts.iter_mut().rfind(|old| is_same(old, &new)) } else { None };
        match old {
            Some(old) => *old = new,
            None => parts.push(new),
        }
    }
    Joined::Whole
}
