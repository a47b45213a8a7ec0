//! The words that all interfaces share: errors of the store, and named values.
//!
//! The Rust side of the WIT interface `types`; [`crate::bindings`] moves values between the two.

use std::fmt;

/// Why the host did not do what was asked. Each text is one sentence that names the key or the limit.
///
/// With `?` in a handler it becomes a [`Failure`](crate::Failure): what may pass by itself is retried, the rest
/// rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The manifest does not ask for this key, or the tenant's configuration does not grant it.
    Denied(String),
    /// An argument is outside what the function documents; the call had no effect.
    Invalid(String),
    /// The key holds another kind of value than the function works on.
    WrongType(String),
    /// A limit of the plugin was reached; the call had no effect.
    Limit(String),
    /// The store cannot be reached. A write at once may or may not have happened.
    Unavailable(String),
    /// The store did not answer in time. A write at once may or may not have happened.
    TimedOut(String),
    /// A key that this call watched was changed by another client.
    Conflict(String),
    /// A fault of the host; it is logged there.
    Internal(String),
}

impl Error {
    /// The name of the case, as the WIT package writes it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Denied(_) => "denied",
            Self::Invalid(_) => "invalid",
            Self::WrongType(_) => "wrong-type",
            Self::Limit(_) => "limit",
            Self::Unavailable(_) => "unavailable",
            Self::TimedOut(_) => "timed-out",
            Self::Conflict(_) => "conflict",
            Self::Internal(_) => "internal",
        }
    }

    /// The sentence that names the key or the limit.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Denied(text)
            | Self::Invalid(text)
            | Self::WrongType(text)
            | Self::Limit(text)
            | Self::Unavailable(text)
            | Self::TimedOut(text)
            | Self::Conflict(text)
            | Self::Internal(text) => text,
        }
    }

    /// Whether the same call may succeed later although nothing about the plugin, the event or the key has changed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::TimedOut(_) | Self::Conflict(_) | Self::Internal(_) => true,
            Self::Denied(_) | Self::Invalid(_) | Self::WrongType(_) | Self::Limit(_) => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind(), self.text())
    }
}

impl std::error::Error for Error {}

/// A named value that the host has handed over: of an event, a stream entry or a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name, 1 to 1024 bytes.
    pub name: String,
    /// The value, any bytes, which may be none.
    pub value: Vec<u8>,
}

/// A named value that is handed to the host: borrowed, so that large values are not copied on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldRef<'a> {
    /// The name, 1 to 1024 bytes.
    pub name: &'a str,
    /// The value, any bytes, which may be none.
    pub value: &'a [u8],
}

impl<'a> FieldRef<'a> {
    /// Borrows pairs of name and value as the host takes them.
    pub(crate) fn list<V: AsRef<[u8]>>(pairs: &'a [(&'a str, V)]) -> Vec<Self> {
        pairs.iter().map(|(name, value)| Self { name, value: value.as_ref() }).collect()
    }
}

/// The name that the generated code has for [`Field`].
pub type FieldResult = Field;
/// The name that the generated code has for [`FieldRef`].
pub type FieldParam<'a> = FieldRef<'a>;
