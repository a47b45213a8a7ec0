//! One line of JSON as the fields of an entry.
//!
//! Pure. Each line is one object; its members become the fields, in their order: strings as they are, other values as
//! the JSON text that was written, so that no number loses a digit.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use sandbar_store::Field;

/// The fields of a line; none where it is blank.
pub(super) fn fields(line: &[u8]) -> Result<Option<Vec<Field>>, String> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let Fields(fields) = serde_json::from_slice(line).map_err(|error| in_words(&error))?;
    if fields.is_empty() {
        return Err("an entry needs at least one field, but the object is empty".to_owned());
    }
    Ok(Some(fields))
}

/// The parser counts lines too, but it sees only this one.
fn in_words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        // What is wrong with the line as a whole has no column.
        Some(reason) if error.column() == 0 => reason.to_owned(),
        Some(reason) => format!("{reason} (column {})", error.column()),
        None => text,
    }
}

struct Fields(Vec<Field>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object such as {\"name\": \"value\"}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Fields, A::Error> {
        let mut fields = Vec::new();
        while let Some((name, value)) = members.next_entry::<String, &RawValue>()? {
            fields.push(Field::new(name, text(value.get())));
        }
        Ok(Fields(fields))
    }
}

/// A string's content, or the JSON text of anything else.
fn text(json: &str) -> String {
    serde_json::from_str::<String>(json).unwrap_or_else(|_| json.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Option<Vec<(String, String)>>, String> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let fields = fields(line.as_bytes())?;
        Ok(fields.map(|fields| fields.into_iter().map(|field| (field.name, text(&field.value))).collect()))
    }

    #[test]
    fn members_become_fields_in_their_order() {
        let line = r#"{"z": "plain \u00e9\n", "a": {"n": [1, 2.50]}, "big": 123456789012345678901, "e": 1e3, "no": null, "t": true, "z": ""}"#;
        let expected = [
            ("z", "plain é\n"),
            ("a", r#"{"n": [1, 2.50]}"#),
            ("big", "123456789012345678901"),
            ("e", "1e3"),
            ("no", "null"),
            ("t", "true"),
            ("z", ""),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        assert_eq!(parsed(line), Ok(Some(expected)));
    }

    #[test]
    fn blank_lines_are_nothing() {
        assert_eq!(parsed(" \t\r"), Ok(None));
        assert_eq!(parsed(""), Ok(None));
    }

    #[test]
    fn what_is_wrong_is_reported_with_its_column() {
        insta::assert_snapshot!(parsed("[1]").unwrap_err(), @r#"invalid type: sequence, expected an object such as {"name": "value"}"#);
        insta::assert_snapshot!(parsed(r#"{"a": }"#).unwrap_err(), @"expected value (column 7)");
        insta::assert_snapshot!(parsed(r#"{"a": 1} {"#).unwrap_err(), @"trailing characters (column 10)");
        insta::assert_snapshot!(parsed(r#"{"a": "#).unwrap_err(), @"EOF while parsing a value (column 6)");
        insta::assert_snapshot!(parsed("{}").unwrap_err(), @"an entry needs at least one field, but the object is empty");
        insta::assert_snapshot!(fields(b"{\"a\": \"\xff\"}").unwrap_err(), @"invalid unicode code point (column 8)");
    }
}
