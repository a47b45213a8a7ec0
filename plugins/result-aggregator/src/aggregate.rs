//! From an assessment and a detection to a result: pure functions from bytes to bytes.
//!
//! It knows no host and no key. Large parts (objects, groups) are checked for their kind and passed through as they
//! were written, so a result of 50 KB is read once and written once.

mod id;
mod risk;

use sandbar_sdk::json;
use serde::de::Deserializer;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use id::{ID_BYTES_MAX, Id};
pub use risk::{Level, Risk};

/// How long a camera's latest result is kept, in milliseconds.
pub const LATEST_TTL_MS: u64 = 300_000;
/// How many alerts of a camera are kept, the newest first.
pub const ALERTS_KEPT: u64 = 100;

/// Bytes of a result besides the parts that are passed through: names, level and truth value, rounded up.
const RESULT_FRAME_BYTES: usize = 256;

/// What the language model has said about the picture of a camera. Names are accepted in `camelCase` and `snake_case`;
/// what is not listed here is ignored.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assessment<'a> {
    #[serde(borrow, default, alias = "request_id")]
    request_id: Option<Id<'a>>,
    #[serde(borrow, alias = "camera_id")]
    camera_id: Id<'a>,
    #[serde(borrow, deserialize_with = "text_or_number")]
    timestamp: &'a RawValue,
    #[serde(borrow, default, alias = "detected_objects", deserialize_with = "optional_array")]
    detected_objects: Option<&'a RawValue>,
    #[serde(borrow, alias = "traffic_groups", deserialize_with = "array")]
    traffic_groups: &'a RawValue,
    #[serde(alias = "risk_assessment")]
    risk_assessment: Risk,
    #[serde(borrow, default, alias = "llm_latency", deserialize_with = "optional_number")]
    llm_latency: Option<&'a RawValue>,
    #[serde(borrow, default, alias = "llm_model", deserialize_with = "optional_text")]
    llm_model: Option<&'a RawValue>,
}

/// What the detector has stored for a request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detection<'a> {
    #[serde(borrow, alias = "detected_objects", deserialize_with = "array")]
    detected_objects: &'a RawValue,
}

/// What browsers get: the contract of the channel `camera:{id}` and of the keys with the same value.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Published<'a> {
    camera_id: &'a Id<'a>,
    timestamp: &'a RawValue,
    detected_objects: &'a RawValue,
    traffic_groups: &'a RawValue,
    risk_assessment: Risk,
    llm_latency: Option<&'a RawValue>,
    llm_model: Option<&'a RawValue>,
}

/// Reads an assessment without copying its parts.
///
/// # Errors
///
/// A sentence that begins with the field at fault, such as `riskAssessment.maxRiskLevel: unknown level "purple"`.
pub fn parse(data: &[u8]) -> Result<Assessment<'_>, String> {
    json::parse(data)
}

impl<'a> Assessment<'a> {
    /// The camera that the picture is from.
    #[must_use]
    pub fn camera_id(&self) -> &str {
        self.camera_id.text()
    }

    /// The request under which the detector has stored what it saw.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_ref().map(Id::text)
    }

    /// Whether the result is an alert: high or critical risk, or dangerous driving.
    #[must_use]
    pub fn is_alert(&self) -> bool {
        self.risk_assessment.is_alert()
    }

    /// The result as JSON. Its objects are those of the detection where there is one, else the assessment's own, else
    /// none.
    ///
    /// # Errors
    ///
    /// A sentence that names the detection and the field at fault in it.
    pub fn result(&self, detection: Option<&[u8]>) -> Result<Vec<u8>, String> {
        let detected_objects = match detection {
            Some(detection) => {
                json::parse::<Detection<'_>>(detection)
                    .map_err(|reason| format!("detection:{}: {reason}", self.request_id().unwrap_or_default()))?
                    .detected_objects
            }
            None => self.detected_objects.unwrap_or(empty_array()?),
        };
        let published = Published {
            camera_id: &self.camera_id,
            timestamp: self.timestamp,
            detected_objects,
            traffic_groups: self.traffic_groups,
            risk_assessment: self.risk_assessment,
            llm_latency: self.llm_latency,
            llm_model: self.llm_model,
        };
        let passed_through = detected_objects.get().len() + self.traffic_groups.get().len();
        let mut json = Vec::with_capacity(passed_through + RESULT_FRAME_BYTES);
        serde_json::to_writer(&mut json, &published).map_err(|error| error.to_string())?;
        Ok(json)
    }
}

fn empty_array() -> Result<&'static RawValue, String> {
    serde_json::from_str("[]").map_err(|error| error.to_string())
}

fn array<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'de RawValue, D::Error> {
    expect(<&RawValue>::deserialize(deserializer)?, "an array", |first| first == b'[')
}

fn optional_array<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    optional(deserializer, "an array or null", |first| first == b'[')
}

fn optional_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    optional(deserializer, "a text or null", |first| first == b'"')
}

fn optional_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    optional(deserializer, "a number or null", is_number)
}

fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'de RawValue, D::Error> {
    expect(<&RawValue>::deserialize(deserializer)?, "a text or a number", |first| first == b'"' || is_number(first))
}

fn optional<'de, D: Deserializer<'de>>(
    deserializer: D,
    expected: &str,
    accepts: fn(u8) -> bool,
) -> Result<Option<&'de RawValue>, D::Error> {
    let value = Option::<&RawValue>::deserialize(deserializer)?;
    value.map(|value| expect(value, expected, accepts)).transpose()
}

/// The first byte of a JSON value gives its kind; it was checked to be well-formed when it was read.
fn expect<'de, E: serde::de::Error>(
    value: &'de RawValue,
    expected: &str,
    accepts: fn(u8) -> bool,
) -> Result<&'de RawValue, E> {
    match value.get().bytes().next() {
        Some(first) if accepts(first) => Ok(value),
        _ => Err(E::custom(format_args!("expected {expected}"))),
    }
}

fn is_number(first: u8) -> bool {
    first == b'-' || first.is_ascii_digit()
}

#[cfg(test)]
mod tests;
