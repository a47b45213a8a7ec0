//! Answers as JSON, and back.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::bindings::sandbar::plugin::types::Error;
use sandbar_store::{Entry, EntryId, Field, Group, Job, Lengths, Page, Remaining, Scored, StoreError, StreamInfo};

/// What stands on a recording.
pub trait Recordable: Sized {
    /// As it stands there.
    fn write(&self) -> Value;
    /// What stands there; none where it is something else.
    fn read(value: &Value) -> Option<Self>;
}

/// An error as it stands on a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedError {
    /// Which one.
    pub kind: String,
    /// Its text.
    pub text: String,
}

/// An error that can stand on a recording.
pub trait RecordableError {
    /// As it stands there.
    fn fault(&self) -> RecordedError;
    /// What stands there.
    fn from_fault(fault: RecordedError) -> Self;
}

/// Bytes: text where they are UTF-8, else hexadecimal digits in an object.
fn written(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    if let Some(text) = value.as_str() {
        return Some(text.as_bytes().to_vec());
    }
    let digits = value.get("hex")?.as_str()?.as_bytes();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(pair).collect()
}

/// For serde: bytes.
pub(super) mod blob {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    pub(in crate::replay) fn serialize<S: Serializer>(value: &bytes::Bytes, to: S) -> Result<S::Ok, S::Error> {
        super::written(value).serialize(to)
    }

    pub(in crate::replay) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<bytes::Bytes, D::Error> {
        let value = serde_json::Value::deserialize(from)?;
        super::bytes(&value).map(Into::into).ok_or_else(|| D::Error::custom("neither text nor hexadecimal digits"))
    }
}

/// For serde: names with bytes.
pub(super) mod pairs {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    use super::Recordable as _;

    type Pairs = Vec<(String, bytes::Bytes)>;

    pub(in crate::replay) fn serialize<S: Serializer>(pairs: &Pairs, to: S) -> Result<S::Ok, S::Error> {
        pairs.write().serialize(to)
    }

    pub(in crate::replay) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Pairs, D::Error> {
        let value = serde_json::Value::deserialize(from)?;
        Pairs::read(&value).ok_or_else(|| D::Error::custom("not a list of pairs"))
    }
}

impl Recordable for Bytes {
    fn write(&self) -> Value {
        written(self)
    }
    fn read(value: &Value) -> Option<Self> {
        bytes(value).map(Self::from)
    }
}

/// What stands there as serde writes it.
macro_rules! recordable {
    ($($type:ty),*) => {$(
        impl Recordable for $type {
            fn write(&self) -> Value {
                serde_json::to_value(self).unwrap_or_default()
            }
            fn read(value: &Value) -> Option<Self> {
                Self::deserialize(value).ok()
            }
        }
    )*};
}

recordable!(String, bool, u64, i64, EntryId, Page, Group, StreamInfo, Lengths, RecordedResponse, RecordedError);

impl Recordable for f64 {
    /// Text, since JSON has no infinity.
    fn write(&self) -> Value {
        Value::from(format!("{self:?}"))
    }
    fn read(value: &Value) -> Option<Self> {
        value.as_str()?.parse().ok()
    }
}

impl<T: Recordable> Recordable for Option<T> {
    fn write(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::write)
    }
    fn read(value: &Value) -> Option<Self> {
        if value.is_null() { Some(None) } else { T::read(value).map(Some) }
    }
}

impl<T: Recordable> Recordable for Vec<T> {
    fn write(&self) -> Value {
        self.iter().map(T::write).collect()
    }
    fn read(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(T::read).collect()
    }
}

impl<A: Recordable, B: Recordable> Recordable for (A, B) {
    fn write(&self) -> Value {
        json!([self.0.write(), self.1.write()])
    }
    fn read(value: &Value) -> Option<Self> {
        let [first, second] = value.as_array()?.as_slice() else { return None };
        Some((A::read(first)?, B::read(second)?))
    }
}

impl Recordable for Field {
    fn write(&self) -> Value {
        json!([self.name, written(&self.value)])
    }
    fn read(value: &Value) -> Option<Self> {
        <(String, Bytes)>::read(value).map(|(name, value)| Self { name, value })
    }
}

impl Recordable for Scored {
    fn write(&self) -> Value {
        json!([self.member, self.score.write()])
    }
    fn read(value: &Value) -> Option<Self> {
        <(String, f64)>::read(value).map(|(member, score)| Self { member, score })
    }
}

impl Recordable for Remaining {
    fn write(&self) -> Value {
        match self {
            Self::Missing => Value::from("missing"),
            Self::Never => Value::from("never"),
            Self::Ms(ms) => Value::from(*ms),
        }
    }
    fn read(value: &Value) -> Option<Self> {
        match value.as_str() {
            Some("missing") => Some(Self::Missing),
            Some("never") => Some(Self::Never),
            _ => value.as_u64().map(Self::Ms),
        }
    }
}

impl Recordable for Entry {
    fn write(&self) -> Value {
        json!({ "id": self.id, "fields": self.fields.write() })
    }
    fn read(value: &Value) -> Option<Self> {
        Some(Self { id: Recordable::read(value.get("id")?)?, fields: Recordable::read(value.get("fields")?)? })
    }
}

/// The answer of an HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedResponse {
    /// Its status.
    pub status: u64,
    /// Its headers, in their order.
    #[serde(with = "pairs")]
    pub headers: Vec<(String, Bytes)>,
    /// As much of its body as was read.
    #[serde(with = "blob")]
    pub body: Bytes,
    /// Why there is no more of it, where it was to go on.
    pub fault: Option<RecordedError>,
}

impl Recordable for Job {
    fn write(&self) -> Value {
        let Self { id, attempt, crashes, priority, time_ms, payload } = self;
        json!([id, attempt, crashes, priority, time_ms, written(payload)])
    }
    fn read(value: &Value) -> Option<Self> {
        let [id, attempt, crashes, priority, time_ms, payload] = value.as_array()?.as_slice() else { return None };
        Some(Self {
            id: id.as_u64()?,
            attempt: attempt.as_u64()?.try_into().ok()?,
            crashes: crashes.as_u64()?.try_into().ok()?,
            priority: priority.as_u64()?.try_into().ok()?,
            time_ms: time_ms.as_u64()?,
            payload: Bytes::read(payload)?,
        })
    }
}

impl RecordableError for StoreError {
    fn fault(&self) -> RecordedError {
        let (kind, text) = match self {
            Self::WrongType(text) => ("wrong-type", text),
            Self::Invalid(text) => ("invalid", text),
            Self::Limit(text) => ("limit", text),
            Self::Unavailable(text) => ("unavailable", text),
            Self::TimedOut(text) => ("timed-out", text),
            Self::Refused(text) => ("refused", text),
            Self::Denied(text) => ("denied", text),
            Self::NoGroup(text) => ("no-group", text),
        };
        RecordedError { kind: kind.to_owned(), text: text.clone() }
    }
    fn from_fault(fault: RecordedError) -> Self {
        match fault.kind.as_str() {
            "wrong-type" => Self::WrongType(fault.text),
            "invalid" => Self::Invalid(fault.text),
            "limit" => Self::Limit(fault.text),
            "timed-out" => Self::TimedOut(fault.text),
            "refused" => Self::Refused(fault.text),
            "denied" => Self::Denied(fault.text),
            "no-group" => Self::NoGroup(fault.text),
            _ => Self::Unavailable(fault.text),
        }
    }
}

impl RecordableError for Error {
    fn fault(&self) -> RecordedError {
        let (kind, text) = match self {
            Self::WrongType(text) => ("wrong-type", text),
            Self::Invalid(text) => ("invalid", text),
            Self::Limit(text) => ("limit", text),
            Self::Unavailable(text) => ("unavailable", text),
            Self::TimedOut(text) => ("timed-out", text),
            Self::Denied(text) => ("denied", text),
            Self::Conflict(text) => ("conflict", text),
            Self::Internal(text) => ("internal", text),
        };
        RecordedError { kind: kind.to_owned(), text: text.clone() }
    }
    fn from_fault(fault: RecordedError) -> Self {
        match fault.kind.as_str() {
            "wrong-type" => Self::WrongType(fault.text),
            "invalid" => Self::Invalid(fault.text),
            "limit" => Self::Limit(fault.text),
            "timed-out" => Self::TimedOut(fault.text),
            "denied" => Self::Denied(fault.text),
            "conflict" => Self::Conflict(fault.text),
            "internal" => Self::Internal(fault.text),
            _ => Self::Unavailable(fault.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn comes_back<T: Recordable + PartialEq + std::fmt::Debug>(answer: &T) {
        let text = answer.write().to_string();
        assert_eq!(T::read(&serde_json::from_str(&text).unwrap()).as_ref(), Some(answer), "{text}");
    }

    /// As hosts of version 0.1.0 wrote them.
    #[test]
    fn answers_of_older_hosts_are_read_and_written_alike() {
        fn alike<T: Recordable>(text: &str) {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(T::read(&value).map(|answer| answer.write()), Some(value));
        }
        alike::<Page>(r#"{"keys":["a"],"next":null}"#);
        alike::<Entry>(r#"{"fields":[["f",{"hex":"ff"}]],"id":"1-2"}"#);
        alike::<StreamInfo>(
            r#"{"first_id":"1-0","groups":[{"consumers":1,"lag":null,"last_delivered":"1-0","name":"g","pending":2}],
                "last_id":null,"length":3,"memory_bytes":9}"#,
        );
        alike::<Lengths>(r#"{"dead":4,"delayed":2,"leased":3,"ready":1}"#);
        alike::<RecordedResponse>(
            r#"{"body":"b","fault":{"kind":"timed-out","text":"t"},"headers":[["h",{"hex":"00ff"}]],"status":200}"#,
        );
        alike::<Option<u64>>("null");
        alike::<Vec<Remaining>>(r#"["missing","never",5]"#);
        alike::<Vec<Scored>>(r#"[["m","1.5"],["n","inf"]]"#);
        alike::<Job>(r#"[7,1,0,3,5,"payload"]"#);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            value in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
            names in prop::collection::vec(".{0,10}", 0..5), number in any::<u64>(), score in any::<f64>(), small in any::<u8>(),
        ) {
            let bytes = value.clone().map(Bytes::from);
            comes_back(&bytes);
            comes_back(&names);
            comes_back(&(number as i64));
            if !score.is_nan() {
                comes_back(&vec![Scored { member: "m".to_owned(), score }, Scored { member: "n".to_owned(), score: f64::INFINITY }]);
            }
            let id = EntryId { ms: number, seq: u64::from(small) };
            let field = Field { name: "f".to_owned(), value: bytes.unwrap_or_default() };
            comes_back(&Entry { id, fields: vec![field.clone()] });
            comes_back(&Page { keys: names, next: Some(number) });
            comes_back(&[Remaining::Missing, Remaining::Never, Remaining::Ms(number)].to_vec());
            comes_back(&Job { id: number, attempt: 3, crashes: 1, priority: small, time_ms: 7, payload: field.value });
            let group = Group { name: "g".to_owned(), consumers: 1, pending: 2, lag: None, last_delivered: id };
            comes_back(&StreamInfo { length: 1, first_id: None, last_id: Some(id), memory_bytes: 9, groups: vec![group] });
        }
    }
}
