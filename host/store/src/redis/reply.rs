//! What a server answers, as values of the store. Pure: no connection, no clock.
//!
//! Answers come in the shapes of RESP3 (maps, sets, doubles) or of RESP2 and of scripts (flat arrays, text). Both are
//! read here, so that no caller knows which protocol is spoken. [`error`] and [`server_error`] are the one place
//! where errors of the client become [`StoreError`]s. Nothing here is bounded: commands bound what they ask for.

use ::redis::{ErrorKind, RedisError, ServerError, Value};
use bytes::Bytes;

use crate::{Entry, EntryId, Field, Scored, StoreError};

/// An entry as the server answers it: without fields where it was deleted but is still pending.
pub(super) type RawEntry = (EntryId, Option<Vec<Field>>);

/// A failed call as the store names it. The key is not known here, so the text says "the key".
pub(super) fn error(error: &RedisError) -> StoreError {
    if let Some(code) = error.code() {
        return refusal(code, error.detail().unwrap_or_default(), None);
    }
    match error.kind() {
        ErrorKind::Io if error.is_timeout() => StoreError::TimedOut(error.to_string()),
        ErrorKind::AuthenticationFailed | ErrorKind::RESP3NotSupported => StoreError::Refused(error.to_string()),
        // Whatever else went wrong, it is not known how far the call came.
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// An error within an answer as the store names it. `key` is what the command was about.
pub(super) fn server_error(error: &ServerError, key: &str) -> StoreError {
    refusal(error.code(), error.details().unwrap_or_default(), Some(key))
}

/// What a script met, as servers before version 7 wrap it: `Error running script (call to f_…): @user_script:26:
/// WRONGTYPE …`.
fn within_script(detail: &str) -> Option<(&str, &str)> {
    let (_, place) = detail.strip_prefix("Error running script")?.rsplit_once("@user_script:")?;
    let (_, words) = place.split_once(": ")?;
    words.trim_start_matches('-').split_once(' ')
}

/// The server's words: its error code, then what it says about it.
fn refusal(code: &str, detail: &str, key: Option<&str>) -> StoreError {
    let (code, detail) = within_script(detail).unwrap_or((code, detail));
    let key = key.map_or_else(|| "the key".to_owned(), |key| format!("`{key}`"));
    let says = |words: &str| detail.contains(words);
    match code {
        "WRONGTYPE" => StoreError::WrongType(format!("{key} holds another kind of value")),
        "NOGROUP" => StoreError::NoGroup(detail.to_owned()),
        // What XINFO and XGROUP say where there is no stream.
        "ERR" if says("no such key") || says("requires the key to exist") => {
            StoreError::NoGroup(format!("{key} is no stream with consumer groups"))
        }
        "ERR" if says("not an integer") => StoreError::WrongType(format!("{key} holds no integer of 64 bits")),
        "ERR" if says("would overflow") => StoreError::Invalid(format!("the sum under {key} would overflow")),
        "ERR" if says("not a valid float") || says("not a float") || says("not a number") => {
            StoreError::Invalid(format!("a score for {key} is no number"))
        }
        "ERR" if says("exceeds maximum") || says("invalid expire") || says("invalid stream ID") => {
            StoreError::Invalid(format!("{key}: {detail}"))
        }
        "NOPERM" => StoreError::Denied(detail.to_owned()),
        // Out of memory, read-only, loading, cut off from replicas or the cluster: nothing was done.
        _ => StoreError::Refused(format!("{code} {detail}")),
    }
}

/// An answer of a shape that the command never has: the connection is out of step, or this is no Redis.
fn unexpected(value: &Value, wanted: &str, key: &str) -> StoreError {
    let shape = match value {
        Value::Nil => "nothing",
        Value::Int(_) | Value::BigNumber(_) => "an integer",
        Value::BulkString(_) | Value::SimpleString(_) | Value::VerbatimString { .. } | Value::Okay => "text",
        Value::Double(_) => "a number",
        Value::Boolean(_) => "a boolean",
        Value::Array(_) | Value::Set(_) => "a list",
        Value::Map(_) => "a map",
        _ => "something else",
    };
    StoreError::Unavailable(format!("the server answered {shape} instead of {wanted} for `{key}`"))
}

/// The value without attributes; errors become [`StoreError`]s.
fn plain(value: Value, key: &str) -> Result<Value, StoreError> {
    match value {
        Value::ServerError(err) => Err(server_error(&err, key)),
        Value::Attribute { data, .. } => plain(*data, key),
        value => Ok(value),
    }
}

/// Nothing but that it was done.
pub(super) fn done(value: Value, key: &str) -> Result<(), StoreError> {
    plain(value, key).map(drop)
}

/// Bytes, or none.
pub(super) fn bytes(value: Value, key: &str) -> Result<Option<Bytes>, StoreError> {
    match plain(value, key)? {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes.into())),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Ok(Some(text.into())),
        Value::Okay => Ok(Some(Bytes::from_static(b"OK"))),
        Value::Int(number) => Ok(Some(number.to_string().into())),
        value => Err(unexpected(&value, "bytes", key)),
    }
}

/// Text that must be UTF-8: a member of a collection.
pub(super) fn text(value: Value, key: &str) -> Result<String, StoreError> {
    match plain(value, key)? {
        Value::BulkString(bytes) => String::from_utf8(bytes)
            .map_err(|_| StoreError::Invalid(format!("`{key}` has a member that is not UTF-8 text"))),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Ok(text),
        Value::Int(number) => Ok(number.to_string()),
        value => Err(unexpected(&value, "text", key)),
    }
}

/// Text in which what is not UTF-8 is replaced.
pub(super) fn text_lossy(value: Value, key: &str) -> Result<String, StoreError> {
    match plain(value, key)? {
        Value::BulkString(bytes) => Ok(lossy(bytes)),
        value => text(value, key),
    }
}

/// Reads valid text without a copy.
fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|err| String::from_utf8_lossy(err.as_bytes()).into_owned())
}

/// An integer, also where it is written as text.
pub(super) fn integer(value: Value, key: &str) -> Result<i64, StoreError> {
    let value = plain(value, key)?;
    let parsed = match &value {
        Value::Int(number) => Some(*number),
        Value::Boolean(truth) => Some(i64::from(*truth)),
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()),
        Value::SimpleString(text) => text.parse().ok(),
        _ => None,
    };
    parsed.ok_or_else(|| unexpected(&value, "an integer", key))
}

/// A number of things, which is not negative.
pub(super) fn count(value: Value, key: &str) -> Result<u64, StoreError> {
    if let Value::BulkString(bytes) = &value
        && let Some(number) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok())
    {
        return Ok(number);
    }
    let number = integer(value, key)?;
    u64::try_from(number).map_err(|_| unexpected(&Value::Int(number), "a count", key))
}

/// A score, or none.
pub(super) fn score(value: Value, key: &str) -> Result<Option<f64>, StoreError> {
    let value = plain(value, key)?;
    let parsed = match &value {
        Value::Nil => return Ok(None),
        Value::Double(number) => Some(*number),
        // Precise enough: the server answers an integer only in place of small scores.
        #[expect(clippy::cast_precision_loss, reason = "scores are doubles in the server already")]
        Value::Int(number) => Some(*number as f64),
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()),
        Value::SimpleString(text) => text.parse().ok(),
        _ => None,
    };
    match parsed {
        Some(number) => Ok(Some(number)),
        None => Err(unexpected(&value, "a score", key)),
    }
}

/// The elements of a list or set; nothing is an empty list.
pub(super) fn list(value: Value, key: &str) -> Result<Vec<Value>, StoreError> {
    match plain(value, key)? {
        Value::Nil => Ok(Vec::new()),
        Value::Array(values) | Value::Set(values) => Ok(values),
        Value::Map(pairs) => Ok(pairs.into_iter().flat_map(|(name, value)| [name, value]).collect()),
        value => Err(unexpected(&value, "a list", key)),
    }
}

/// Pairs: a map, a flat list of names and values, or a list of pairs.
pub(super) fn pairs(value: Value, key: &str) -> Result<Vec<(Value, Value)>, StoreError> {
    let values = match plain(value, key)? {
        Value::Map(pairs) => return Ok(pairs),
        value => list(value, key)?,
    };
    let nested = values.first().is_some_and(|first| matches!(first, Value::Array(_)));
    let flat = if nested {
        let mut flat = Vec::with_capacity(values.len() * 2);
        for value in values {
            let pair = list(value, key)?;
            if pair.len() != 2 {
                return Err(unexpected(&Value::Array(pair), "a pair", key));
            }
            flat.extend(pair);
        }
        flat
    } else {
        values
    };
    let mut pairs = Vec::with_capacity(flat.len() / 2);
    let mut flat = flat.into_iter();
    while let Some(name) = flat.next() {
        let value = flat.next().ok_or_else(|| unexpected(&Value::Nil, "the second of a pair", key))?;
        pairs.push((name, value));
    }
    Ok(pairs)
}

/// Fields of a hash; a name that is not UTF-8 is [`StoreError::Invalid`].
pub(super) fn fields(value: Value, key: &str) -> Result<Vec<Field>, StoreError> {
    let field = |(name, value)| Ok(Field { name: text(name, key)?, value: bytes(value, key)?.unwrap_or_default() });
    pairs(value, key)?.into_iter().map(field).collect()
}

/// Members of a sorted set with their scores, in the server's order.
pub(super) fn scored(value: Value, key: &str) -> Result<Vec<Scored>, StoreError> {
    let member = |(member, number)| {
        let score = score(number, key)?.ok_or_else(|| unexpected(&Value::Nil, "a score", key))?;
        Ok(Scored { member: text(member, key)?, score })
    };
    pairs(value, key)?.into_iter().map(member).collect()
}

/// The id of an entry.
pub(super) fn entry_id(value: Value, key: &str) -> Result<EntryId, StoreError> {
    let value = plain(value, key)?;
    let parsed = match &value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()),
        Value::SimpleString(text) => text.parse().ok(),
        _ => None,
    };
    parsed.ok_or_else(|| unexpected(&value, "an entry id", key))
}

/// An entry, whose fields are missing where it was deleted but is still pending. None where the server answers
/// nothing in its place, as XCLAIM does before Redis 7 for deleted entries.
pub(super) fn raw_entry(value: Value, key: &str) -> Result<Option<RawEntry>, StoreError> {
    let value = plain(value, key)?;
    if value == Value::Nil {
        return Ok(None);
    }
    let mut parts = list(value, key)?.into_iter();
    let (Some(id), Some(body), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err(unexpected(&Value::Nil, "an entry", key));
    };
    let id = entry_id(id, key)?;
    if body == Value::Nil {
        return Ok(Some((id, None)));
    }
    let field =
        |(name, value)| Ok(Field { name: text_lossy(name, key)?, value: bytes(value, key)?.unwrap_or_default() });
    let fields = pairs(body, key)?.into_iter().map(field).collect::<Result<Vec<_>, StoreError>>()?;
    Ok(Some((id, Some(fields))))
}

/// Entries with and without fields, in the server's order.
pub(super) fn raw_entries(value: Value, key: &str) -> Result<Vec<RawEntry>, StoreError> {
    list(value, key)?.into_iter().filter_map(|value| raw_entry(value, key).transpose()).collect()
}

/// Entries that are there, in the server's order.
pub(super) fn entries(value: Value, key: &str) -> Result<Vec<Entry>, StoreError> {
    let entries = raw_entries(value, key)?.into_iter();
    Ok(entries.filter_map(|(id, fields)| fields.map(|fields| Entry { id, fields })).collect())
}

/// What XREADGROUP answers for one stream; no entries where it answers nothing.
pub(super) fn read_entries(value: Value, stream: &str) -> Result<Vec<RawEntry>, StoreError> {
    match pairs(value, stream)?.into_iter().next() {
        Some((_, entries)) => raw_entries(entries, stream),
        None => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests;
