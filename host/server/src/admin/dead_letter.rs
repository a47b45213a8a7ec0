//! A dead letter: an event that was given up, and why.
//!
//! Pure. An entry of a dead-letter stream has the circumstances in fields of its own, and each field of the event with
//! [`FIELD_PREFIX`] before its name, or the payload of a job under [`PAYLOAD`].

use std::time::{Duration, UNIX_EPOCH};

use serde::ser::{Serialize, SerializeMap, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Object, ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use bytes::Bytes;

use sandbar_store::dead_letter::{FIELD_PREFIX, PAYLOAD};
use sandbar_store::{Entry, EntryId, Field};

/// How much of a reason a list shows, in characters.
const REASON_SHOWN: usize = 100;

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedDeadLetter {
    /// Its id in the dead-letter stream.
    pub id: EntryId,
    /// The circumstances, as they were written: `reason`, `attempt`, `plugin`, `version`, `group`, `time`, `id`.
    pub about: Vec<Field>,
    /// The fields of the event.
    pub original: Vec<Field>,
    /// The payload, where the event was a job of a queue.
    pub payload: Option<Bytes>,
}

impl From<Entry> for ListedDeadLetter {
    fn from(entry: Entry) -> Self {
        let mut dead_letter = Self { id: entry.id, about: Vec::new(), original: Vec::new(), payload: None };
        for field in entry.fields {
            match field.name.strip_prefix(FIELD_PREFIX) {
                None if field.name == PAYLOAD => dead_letter.payload = Some(field.value),
                Some(name) => dead_letter.original.push(Field::new(name, field.value)),
                None => dead_letter.about.push(field),
            }
        }
        dead_letter
    }
}

impl ListedDeadLetter {
    /// The fields of its entry.
    pub fn fields(&self) -> Vec<Field> {
        let original =
            self.original.iter().map(|field| Field::new(format!("{FIELD_PREFIX}{}", field.name), field.value.clone()));
        let payload = self.payload.iter().map(|payload| Field::new(PAYLOAD, payload.clone()));
        self.about.iter().cloned().chain(original).chain(payload).collect()
    }

    /// Whether there is an event in it that can be sent back.
    pub fn has_event(&self) -> bool {
        !self.original.is_empty() || self.payload.is_some()
    }

    /// One line of a list.
    pub fn line(&self) -> String {
        let reason = self.text("reason");
        let shown: String = reason.chars().take(REASON_SHOWN).collect();
        let cut = if shown.len() < reason.len() { "…" } else { "" };
        format!("{}  {}  {}  attempt {}  {shown}{cut}", self.id, self.time(), self.text("plugin"), self.text("attempt"))
    }

    /// All that is known, over several lines.
    pub fn page(&self) -> String {
        let mut lines = vec![self.id.to_string()];
        for field in &self.about {
            let value = if field.name == "time" { self.time() } else { printable(&field.value) };
            lines.push(format!("  {:<8} {value}", printable(field.name.as_bytes())));
        }
        if let Some(payload) = &self.payload {
            lines.push(format!("  the job: {}", printable(payload)));
            return lines.join("\n");
        }
        lines.push("  the event:".to_owned());
        let original = self.original.iter();
        lines.extend(
            original.map(|field| format!("    {} = {}", printable(field.name.as_bytes()), printable(&field.value))),
        );
        lines.join("\n")
    }

    fn text(&self, name: &str) -> String {
        let field = self.about.iter().find(|field| field.name == name);
        field.map_or_else(|| "?".to_owned(), |field| printable(&field.value))
    }

    fn time(&self) -> String {
        let text = self.text("time");
        let time = text.parse().ok().and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
        // Years behind 9999 have no such form.
        let readable =
            time.filter(|time| time.duration_since(UNIX_EPOCH).is_ok_and(|age| age.as_secs() < 253_402_300_800));
        readable.map_or(text, |time| humantime::format_rfc3339_millis(time).to_string())
    }
}

impl PartialSchema for ListedDeadLetter {
    fn schema() -> RefOr<Schema> {
        let text = |what: &str| ObjectBuilder::new().schema_type(Type::String).description(Some(what)).build();
        let number = |what: &str| ObjectBuilder::new().schema_type(Type::Integer).description(Some(what)).build();
        ObjectBuilder::new()
            .property("dead_id", text("The id of the dead letter"))
            .property("reason", text("Why the event was given up"))
            .property("attempt", number("The last attempt to handle it"))
            .property("plugin", text("The plugin"))
            .property("version", text("The version that had it last"))
            .property("group", text("The consumer group; none for jobs"))
            .property("time", number("When, in milliseconds since 1970"))
            .property("id", text("The id of the event or job"))
            .property(
                "fields",
                ObjectBuilder::new()
                    .description(Some("The fields of the event; `{\"hex\": …}` where a value is no text")),
            )
            .property("payload", Object::new())
            .required("dead_id")
            .description(Some("A dead letter, with the event or the payload of the job"))
            .into()
    }
}

impl ToSchema for ListedDeadLetter {}

impl Serialize for ListedDeadLetter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("dead_id", &self.id.to_string())?;
        for field in &self.about {
            match number(field) {
                Some(number) => map.serialize_entry(&field.name, &number)?,
                None => map.serialize_entry(&field.name, &Value(&field.value))?,
            }
        }
        match &self.payload {
            Some(payload) => map.serialize_entry(PAYLOAD, &Value(payload))?,
            None => map.serialize_entry("fields", &Members(&self.original))?,
        }
        map.end()
    }
}

/// The circumstances that are numbers.
fn number(field: &Field) -> Option<u64> {
    let is_number = matches!(field.name.as_str(), "attempt" | "time");
    std::str::from_utf8(&field.value).ok().filter(|_| is_number)?.parse().ok()
}

struct Members<'a>(&'a [Field]);

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|field| (&field.name, Value(&field.value))))
    }
}

/// A value in JSON: a string where it is UTF-8, else `{"hex": "…"}`.
struct Value<'a>(&'a [u8]);

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let hex: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
                serializer.collect_map([("hex", hex)])
            }
        }
    }
}

/// Text that a terminal shows and does not obey.
fn printable(bytes: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(bytes) else { return bytes.escape_ascii().to_string() };
    text.chars().fold(String::with_capacity(text.len()), |mut shown, char| {
        if char.is_control() {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
        shown
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead_letter() -> ListedDeadLetter {
        let field = |name: &str, value: &[u8]| Field::new(name, value.to_vec());
        let fields = vec![
            field("reason", b"`maxRiskLevel` is missing\x1b[31m"),
            field("attempt", b"1"),
            field("plugin", b"result-aggregator"),
            field("version", b"0f3a"),
            field("group", b"result-aggregator"),
            field("time", b"1795000000000"),
            field("id", b"1794999999000-0"),
            field("field:cameraId", "7 é".as_bytes()),
            field("field:image", b"\xff\x00"),
            field("field:field:odd", b"x"),
        ];
        ListedDeadLetter::from(Entry { id: EntryId { ms: 1_795_000_000_001, seq: 2 }, fields })
    }

    #[test]
    fn the_event_gets_its_own_names_back() {
        let names: Vec<_> = dead_letter().original.into_iter().map(|field| field.name).collect();
        assert_eq!(names, ["cameraId", "image", "field:odd"]);
        let again = ListedDeadLetter::from(Entry { id: dead_letter().id, fields: dead_letter().fields() });
        assert_eq!(again, dead_letter());
    }

    #[test]
    fn a_line_a_page_and_an_object() {
        insta::assert_snapshot!(dead_letter().line(), @r#"1795000000001-2  2026-11-18T11:06:40.000Z  result-aggregator  attempt 1  `maxRiskLevel` is missing\u{1b}[31m"#);
        insta::assert_snapshot!(dead_letter().page(), @r#"
        1795000000001-2
          reason   `maxRiskLevel` is missing\u{1b}[31m
          attempt  1
          plugin   result-aggregator
          version  0f3a
          group    result-aggregator
          time     2026-11-18T11:06:40.000Z
          id       1794999999000-0
          the event:
            cameraId = 7 é
            image = \xff\x00
            field:odd = x
        "#);
        insta::assert_snapshot!(serde_json::to_string(&dead_letter()).unwrap(), @r#"{"dead_id":"1795000000001-2","reason":"`maxRiskLevel` is missing\u001b[31m","attempt":1,"plugin":"result-aggregator","version":"0f3a","group":"result-aggregator","time":1795000000000,"id":"1794999999000-0","fields":{"cameraId":"7 é","image":{"hex":"ff00"},"field:odd":"x"}}"#);
    }

    #[test]
    fn a_job_has_a_payload_in_place_of_fields() {
        let fields = vec![Field::new("id", "7"), Field::new("payload", &b"a\nb"[..])];
        let dead_letter = ListedDeadLetter::from(Entry { id: EntryId::ZERO, fields: fields.clone() });
        assert!(dead_letter.has_event());
        assert_eq!(dead_letter.fields(), fields);
        insta::assert_snapshot!(dead_letter.page(), @r#"
        0-0
          id       7
          the job: a\nb
        "#);
        insta::assert_snapshot!(serde_json::to_string(&dead_letter).unwrap(), @r#"{"dead_id":"0-0","id":"7","payload":"a\nb"}"#);
    }

    #[test]
    fn what_is_missing_or_odd_is_shown_as_it_is() {
        let time = Field::new("time", &b"soon"[..]);
        let odd = ListedDeadLetter::from(Entry { id: EntryId::ZERO, fields: vec![time] });
        insta::assert_snapshot!(odd.line(), @"0-0  soon  ?  attempt ?  ?");
        let far =
            ListedDeadLetter::from(Entry { id: EntryId::ZERO, fields: vec![Field::new("time", u64::MAX.to_string())] });
        assert!(far.line().contains("18446744073709551615"));
    }
}
