//! The name of a camera or a request: it becomes part of keys, and is published as it was written.

use std::borrow::Cow;

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

/// The longest name of a camera or a request. With what the plugin puts around it, it stays far below the 1,024 bytes
/// that a key may have.
pub const ID_BYTES_MAX: usize = 128;

/// A text or a whole number without sign, 1 to [`ID_BYTES_MAX`] bytes, no control characters.
#[derive(Debug)]
pub struct Id<'a> {
    /// As the producer wrote it, with quotes or without: consumers get the same kind back.
    raw: &'a RawValue,
    /// What stands in keys.
    text: Cow<'a, str>,
}

impl Id<'_> {
    /// What stands in keys.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Id<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        let text = match raw.get().strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            Some(text) if !text.contains('\\') => Cow::Borrowed(text),
            Some(_) => Cow::Owned(serde_json::from_str(raw.get()).map_err(D::Error::custom)?),
            None if raw.get().bytes().all(|byte| byte.is_ascii_digit()) => Cow::Borrowed(raw.get()),
            None => return Err(D::Error::custom("expected a text or a whole number")),
        };
        if text.is_empty() || text.len() > ID_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(D::Error::custom(format_args!(
                "expected 1 to {ID_BYTES_MAX} bytes without control characters"
            )));
        }
        Ok(Self { raw, text })
    }
}

impl Serialize for Id<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.raw.serialize(serializer)
    }
}
