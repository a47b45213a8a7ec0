//! What a key would hold after writes that are not committed yet.
//!
//! Pure. A call's reads through `cache` see its own writes: the value in the store is read, and the writes that the
//! call has gathered for that key are applied to it here, as the store will apply them in the commit.

use bytes::Bytes;

use crate::{Condition, Effect, Expiry, Remaining};

/// A key's plain value and time to live; no value where the key does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What the key holds.
    pub value: PendingValue,
    /// How long it has left.
    pub ttl: Remaining,
}

/// What a key holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PendingValue {
    /// Nothing: there is no such key.
    Nothing,
    /// A plain value.
    Plain(Bytes),
    /// A collection or a stream.
    Other,
}

impl Seen {
    /// A key that does not exist.
    pub const MISSING: Self = Self { value: PendingValue::Nothing, ttl: Remaining::Missing };

    /// Applies one write to this key. Writes that the store will refuse change nothing.
    pub fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::Set { value, expiry, condition, .. } => {
                let exists = self.value != PendingValue::Nothing;
                let applies = match condition {
                    Condition::Always => true,
                    Condition::IfAbsent => !exists,
                    Condition::IfPresent => exists,
                };
                if applies {
                    self.ttl = match (expiry, self.ttl) {
                        (Expiry::TtlMs(ms), _) => Remaining::Ms(*ms),
                        (Expiry::KeepTtl, Remaining::Ms(ms)) => Remaining::Ms(ms),
                        (Expiry::Never | Expiry::KeepTtl, _) => Remaining::Never,
                    };
                    self.value = PendingValue::Plain(value.clone());
                }
            }
            Effect::Delete { .. } => *self = Self::MISSING,
            Effect::Expire { ttl_ms, .. } => {
                if self.value != PendingValue::Nothing {
                    self.ttl = Remaining::Ms(*ttl_ms);
                }
            }
            Effect::Add { by, .. } => {
                let before = match &self.value {
                    PendingValue::Nothing => Some(0),
                    PendingValue::Plain(value) => integer(value),
                    PendingValue::Other => None,
                };
                if let Some(sum) = before.and_then(|before| before.checked_add(*by)) {
                    if self.value == PendingValue::Nothing {
                        self.ttl = Remaining::Never;
                    }
                    self.value = PendingValue::Plain(sum.to_string().into());
                }
            }
            // What fills a missing key makes it a collection; what empties one may delete it, which is known only
            // in the store: reads of collections are documented not to see such writes.
            Effect::Push { options, .. } if options.delay_ms > 0 || options.priority > 0 => {}
            Effect::Append { .. }
            | Effect::Push { .. }
            | Effect::HashSet { .. }
            | Effect::HashAdd { .. }
            | Effect::SetAdd { .. }
            | Effect::SortedAdd { .. }
            | Effect::ListPush { .. } => {
                if self.value == PendingValue::Nothing {
                    *self = Self { value: PendingValue::Other, ttl: Remaining::Never };
                }
            }
            Effect::Remove { .. }
            | Effect::Publish { .. }
            | Effect::HashDelete { .. }
            | Effect::SetRemove { .. }
            | Effect::SortedRemove { .. }
            | Effect::SortedRemoveByScore { .. }
            | Effect::ListRemove { .. } => {}
        }
    }
}

/// Whether a write decides what the key holds, whatever it held before, so that the store need not be asked.
pub fn decides(effect: &Effect) -> bool {
    match effect {
        Effect::Set { expiry, condition, .. } => *condition == Condition::Always && *expiry != Expiry::KeepTtl,
        Effect::Delete { .. } => true,
        _ => false,
    }
}

/// Reads an integer as the store does: no sign but `-`, no leading zeros, no spaces.
fn integer(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(value: &str, expiry: Expiry, condition: Condition) -> Effect {
        Effect::Set { key: "k".into(), value: Bytes::from(value.to_owned()), expiry, condition }
    }

    fn plain(value: &str) -> PendingValue {
        PendingValue::Plain(Bytes::from(value.to_owned()))
    }

    #[test]
    fn conditions_look_at_the_key_as_it_would_be() {
        let mut seen = Seen::MISSING;
        seen.apply(&set("a", Expiry::Never, Condition::IfPresent));
        assert_eq!(seen, Seen::MISSING);
        seen.apply(&set("a", Expiry::TtlMs(5), Condition::IfAbsent));
        seen.apply(&set("b", Expiry::KeepTtl, Condition::IfPresent));
        assert_eq!(seen, Seen { value: plain("b"), ttl: Remaining::Ms(5) });
        seen.apply(&Effect::Delete { key: "k".into() });
        assert_eq!(seen, Seen::MISSING);
    }

    #[test]
    fn sums_are_those_of_the_store() {
        let add = |by| Effect::Add { key: "k".into(), by };
        let mut seen = Seen::MISSING;
        seen.apply(&add(2));
        seen.apply(&add(-5));
        assert_eq!(seen.value, plain("-3"));
        for odd in ["+1", "01", " 1", "1.0", ""] {
            let mut seen = Seen { value: plain(odd), ttl: Remaining::Never };
            seen.apply(&add(1));
            assert_eq!(seen.value, plain(odd), "refused, so unchanged");
        }
        let mut full = Seen { value: plain(&i64::MAX.to_string()), ttl: Remaining::Never };
        full.apply(&add(1));
        assert_eq!(full.value, plain(&i64::MAX.to_string()));
    }
}
