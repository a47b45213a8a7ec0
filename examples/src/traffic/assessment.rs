//! What producers write: the shape that the README of `result-aggregator` documents.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// What has been said about one picture of a camera.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Assessment<'a> {
    pub(super) request_id: String,
    pub(super) camera_id: &'a str,
    pub(super) timestamp: String,
    pub(super) detected_objects: &'a [Object],
    pub(super) traffic_groups: Vec<Group>,
    pub(super) risk_assessment: Risk,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) llm_latency: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) llm_model: Option<&'static str>,
}

/// An object that the detector has seen. It is read from recordings and written as it was read.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Object {
    pub(super) class_id: u32,
    pub(super) name: String,
    pub(super) relative_coordinates: Place,
    pub(super) confidence: f64,
}

/// Where an object is, in parts of the picture's width and height, 0 to 1.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Place {
    pub(super) center_x: f64,
    pub(super) center_y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// Objects that belong together.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Group {
    pub(super) group_id: usize,
    /// Indices into the detected objects.
    pub(super) objects: Vec<usize>,
    pub(super) risk_level: Level,
    pub(super) description: String,
}

/// The risk of the picture as a whole.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Risk {
    pub(super) max_risk_level: Level,
    pub(super) has_dangerous_driving: bool,
}

impl Risk {
    /// Whether the result must be remembered as an alert.
    pub(super) fn is_alert(&self) -> bool {
        self.has_dangerous_driving || matches!(self.max_risk_level, Level::High | Level::Critical)
    }
}

/// A level of risk, from the lowest to the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    None,
    Low,
    Medium,
    High,
    Critical,
}

/// A time as text, such as `2026-11-21T08:00:00.033Z`.
pub(super) fn timestamp(ms: u64) -> String {
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}
