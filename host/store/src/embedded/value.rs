//! What a key can hold.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;

use super::log::Log;
use super::sorted::Sorted;
use crate::StoreError;

/// A plain value.
pub(super) type Plain = Bytes;
/// A hash: values by field.
pub(super) type Hash = HashMap<String, Bytes>;
/// A set of members.
pub(super) type Set = HashSet<String>;
/// A list; index 0 is its front.
pub(super) type List = VecDeque<Bytes>;

/// A value of any kind.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// See [`Plain`](tyalias@Plain).
    Plain(Plain),
    /// See [`Hash`](tyalias@Hash).
    Hash(Hash),
    /// See [`Set`](tyalias@Set).
    Set(Set),
    /// See [`Sorted`].
    Sorted(Sorted),
    /// See [`List`](tyalias@List).
    List(List),
    /// See [`Log`].
    Log(Log),
}

impl Value {
    /// The kind in words, for errors.
    fn kind(&self) -> &'static str {
        match self {
            Self::Plain(_) => Plain::NAME,
            Self::Hash(_) => Hash::NAME,
            Self::Set(_) => Set::NAME,
            Self::Sorted(_) => Sorted::NAME,
            Self::List(_) => List::NAME,
            Self::Log(_) => Log::NAME,
        }
    }

    /// The value as one kind; [`StoreError::WrongType`] where it is another. `key` is for the error.
    pub(super) fn as_kind<T: Kind>(&self, key: &str) -> Result<&T, StoreError> {
        T::of(self).ok_or_else(|| self.wrong::<T>(key))
    }

    /// The same, to change it.
    pub(super) fn as_kind_mut<T: Kind>(&mut self, key: &str) -> Result<&mut T, StoreError> {
        if T::of(self).is_none() {
            return Err(self.wrong::<T>(key));
        }
        T::of_mut(self).ok_or_else(|| StoreError::WrongType(key.to_owned()))
    }

    fn wrong<T: Kind>(&self, key: &str) -> StoreError {
        StoreError::WrongType(format!("`{key}` holds {}, not {}", self.kind(), T::NAME))
    }
}

/// One of the kinds of values.
pub(super) trait Kind: Default + Into<Value> {
    /// The kind in words, for errors.
    const NAME: &'static str;
    /// The value, where it is of this kind.
    fn of(value: &Value) -> Option<&Self>;
    /// The same, to change it.
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    /// Whether a key with this value goes away: collections do when they are empty, plain values and streams do not.
    fn vanishes(&self) -> bool;
}

macro_rules! kind {
    ($kind:ident, $name:literal, $vanishes:expr) => {
        impl From<$kind> for Value {
            fn from(value: $kind) -> Self {
                Self::$kind(value)
            }
        }

        impl Kind for $kind {
            const NAME: &'static str = $name;

            fn of(value: &Value) -> Option<&Self> {
                if let Value::$kind(inner) = value { Some(inner) } else { None }
            }

            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                if let Value::$kind(inner) = value { Some(inner) } else { None }
            }

            fn vanishes(&self) -> bool {
                let vanishes: fn(&Self) -> bool = $vanishes;
                vanishes(self)
            }
        }
    };
}

kind!(Plain, "a plain value", |_| false);
kind!(Hash, "a hash", |hash| hash.is_empty());
kind!(Set, "a set", |set| set.is_empty());
kind!(Sorted, "a sorted set", |sorted| sorted.len() == 0);
kind!(List, "a list", |list| list.is_empty());
kind!(Log, "a stream", |_| false);
