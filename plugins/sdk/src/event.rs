//! What a handler is given: events, and typed access to what they carry. Nothing is copied on the way out of an event.

use std::str::FromStr;

use serde::Deserialize;

pub use crate::bindings::exports::sandbar::plugin::handler::{Content, Event, Outcome};
use crate::failure::Failure;
use crate::types::Field;

impl Event {
    /// The fields of a stream entry, in their order; none for an event that carries a payload.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        match &self.content {
            Content::Fields(fields) => fields,
            Content::Payload(_) => &[],
        }
    }

    /// The payload of a queued job or a published message; none for a stream entry.
    #[must_use]
    pub fn payload(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Fields(_) => None,
            Content::Payload(payload) => Some(payload),
        }
    }

    /// The payload as a JSON document. `T` may borrow from the event (`&str`, `&RawValue`).
    ///
    /// # Errors
    ///
    /// Rejects, naming the place within the document (`payload: objects[3].name: ...`), where the event has fields
    /// instead, or the payload is not what `T` asks for.
    pub fn payload_json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Failure> {
        let payload = self.payload().ok_or_else(|| Failure::reject("payload: the event has fields instead"))?;
        crate::json::parse(payload).map_err(|reason| Failure::Reject(format!("payload: {reason}")))
    }

    /// The value of the first field with this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields().iter().find(|field| field.name == name).map(|field| field.value.as_slice())
    }

    /// The value of a field that must be there.
    ///
    /// # Errors
    ///
    /// Rejects with `NAME: missing field`.
    pub fn bytes(&self, name: &str) -> Result<&[u8], Failure> {
        self.field(name).ok_or_else(|| Failure::Reject(format!("{name}: missing field")))
    }

    /// A field as text.
    ///
    /// # Errors
    ///
    /// Rejects, naming the field, where it is missing or not UTF-8.
    pub fn text(&self, name: &str) -> Result<&str, Failure> {
        std::str::from_utf8(self.bytes(name)?).map_err(|error| Failure::Reject(format!("{name}: {error}")))
    }

    /// A field as whatever can be parsed from text: a number, a truth value, an address.
    ///
    /// # Errors
    ///
    /// Rejects, naming the field and its value, where it is missing or cannot be parsed.
    pub fn parse<T>(&self, name: &str) -> Result<T, Failure>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        let text = self.text(name)?;
        text.parse().map_err(|error| Failure::Reject(format!("{name}: {error} in {text:?}")))
    }

    /// A field as a JSON document. `T` may borrow from the event (`&str`, `&RawValue`).
    ///
    /// # Errors
    ///
    /// Rejects, naming the field and the place within the document (`data: objects[3].name: ...`), where it is missing
    /// or is not what `T` asks for.
    pub fn json<'a, T: Deserialize<'a>>(&'a self, name: &str) -> Result<T, Failure> {
        crate::json::parse(self.bytes(name)?).map_err(|reason| Failure::Reject(format!("{name}: {reason}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(fields: &[(&str, &str)]) -> Event {
        let fields = fields
            .iter()
            .map(|(name, value)| Field { name: (*name).to_owned(), value: value.as_bytes().to_vec() })
            .collect();
        Event {
            id: "1-1".to_owned(),
            source: "numbers".to_owned(),
            attempt: 1,
            time_ms: 1,
            content: Content::Fields(fields),
        }
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Reading<'a> {
        camera: &'a str,
        values: Vec<i64>,
    }

    #[test]
    fn json_borrows_from_the_event() {
        let event = event(&[("other", "1"), ("data", r#"{"camera":"7","values":[1,2]}"#)]);
        let reading: Reading<'_> = event.json("data").expect("it is what `Reading` asks for");
        assert_eq!(reading, Reading { camera: "7", values: vec![1, 2] });
    }

    #[test]
    fn reasons_name_the_field_and_the_place() {
        let event = event(&[("data", r#"{"camera":"7","values":[1,"x"]}"#), ("number", "12a")]);
        let Err(Failure::Reject(reason)) = event.json::<Reading<'_>>("data") else { panic!("it is malformed") };
        assert!(reason.starts_with("data: values[1]: invalid type: string \"x\", expected i64"), "{reason}");
        assert_eq!(event.text("absent"), Err(Failure::reject("absent: missing field")));
        assert_eq!(
            event.parse::<u32>("number"),
            Err(Failure::reject("number: invalid digit found in string in \"12a\""))
        );
    }

    #[test]
    fn a_payload_has_no_fields() {
        let event = Event { content: Content::Payload(b"x".to_vec()), ..event(&[]) };
        assert_eq!((event.fields().len(), event.field("data"), event.payload()), (0, None, Some(b"x".as_slice())));
        let json = Event { content: Content::Payload(b"[1,true]".to_vec()), ..event };
        let Err(Failure::Reject(reason)) = json.payload_json::<Vec<u8>>() else { panic!("it is malformed") };
        assert!(reason.starts_with("payload: [1]: invalid type: boolean `true`, expected u8"), "{reason}");
    }
}
