//! What a dead letter says.
//!
//! Pure. A dead letter is an entry of the stream `<source>:dead`: first what happened, then the event's own fields,
//! each with [`FIELD_PREFIX`] before its name, or the job's payload under [`PAYLOAD`], so that it can be looked at
//! and sent back.

use bytes::Bytes;

use crate::{EntryId, Field, Job};

/// What stands before the names of the event's own fields.
pub const FIELD_PREFIX: &str = "field:";
/// The name under which the payload of a job stands.
pub const PAYLOAD: &str = "payload";
/// The longest reason; the rest is cut off.
pub const REASON_BYTES_MAX: usize = 4096;

/// Why, where and when an event was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circumstances<'a> {
    /// Why.
    pub reason: &'a str,
    /// Which attempt to handle it was the last.
    pub attempt: u32,
    /// The plugin.
    pub plugin: &'a str,
    /// The digest of the version that had it last.
    pub version: &'a str,
    /// The consumer group; none for jobs of a queue.
    pub group: Option<&'a str>,
    /// When, in milliseconds since 1970 by the store's clock.
    pub time_ms: u64,
    /// The event's id.
    pub id: &'a str,
}

/// The fields of a dead letter; `remains` are the event's own, named as they are to stand there.
pub fn fields(circumstances: Circumstances<'_>, remains: Vec<Field>) -> Vec<Field> {
    let Circumstances { reason, attempt, plugin, version, group, time_ms, id } = circumstances;
    let text = |name: &str, value: String| Field::new(name, value);
    let mut fields = vec![
        text("reason", cut(reason).to_owned()),
        text("attempt", attempt.to_string()),
        text("plugin", plugin.to_owned()),
        text("version", version.to_owned()),
    ];
    fields.extend(group.map(|group| text("group", group.to_owned())));
    fields.extend([text("time", time_ms.to_string()), text("id", id.to_owned())]);
    fields.extend(remains);
    fields
}

/// Fields of an event as they stand in its dead letter.
pub fn own(fields: &[Field]) -> Vec<Field> {
    let own = |field: &Field| Field { name: format!("{FIELD_PREFIX}{}", field.name), value: field.value.clone() };
    fields.iter().map(own).collect()
}

/// A job as it stands in its dead letter.
pub fn remains(job: &Job) -> Vec<Field> {
    vec![Field::new(PAYLOAD, job.payload.clone())]
}

/// The event that a dead letter was made of.
pub fn original(dead_letter: &[Field]) -> Vec<Field> {
    let own = |field: &Field| {
        field.name.strip_prefix(FIELD_PREFIX).map(|name| Field { name: name.to_owned(), value: field.value.clone() })
    };
    dead_letter.iter().filter_map(own).collect()
}

/// The value that a dead letter has under one of its own names, such as `reason`.
pub fn value<'a>(dead_letter: &'a [Field], name: &str) -> Option<&'a Bytes> {
    dead_letter.iter().find(|field| field.name == name).map(|field| &field.value)
}

/// The id of the entry that a dead letter was made of.
pub fn source_id(dead_letter: &[Field]) -> Option<EntryId> {
    value(dead_letter, "id").and_then(|id| std::str::from_utf8(id).ok()).and_then(|id| id.parse().ok())
}

fn cut(reason: &str) -> &str {
    let end = (0..=REASON_BYTES_MAX.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
    reason.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_event_comes_back_as_it_was(
            pairs in prop::collection::vec(("[a-z:]{0,12}", prop::collection::vec(any::<u8>(), 0..20)), 0..8),
            reason in ".{0,2000}",
        ) {
            let own: Vec<Field> = pairs.into_iter().map(|(name, value)| Field::new(name, value)).collect();
            let circumstances = Circumstances {
                reason: &reason, attempt: 3, plugin: "p", version: "v", group: Some("g"), time_ms: 7, id: "5-1",
            };
            let dead_letter = fields(circumstances, super::own(&own));
            prop_assert_eq!(original(&dead_letter), own);
            prop_assert_eq!(source_id(&dead_letter), Some(EntryId { ms: 5, seq: 1 }));
            prop_assert!(value(&dead_letter, "reason").is_some_and(|cut| cut.len() <= REASON_BYTES_MAX));
        }
    }
}
