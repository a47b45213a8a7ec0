//! The events that all variants handle, and what must come of each.
//!
//! Pictures of cameras as `sandbar_examples::traffic` makes them up, all well-formed; for one request in
//! [`DETECTION_EVERY`] the detector's own findings are in the store and have to be joined.

use std::collections::HashMap;

use clap::Args;
use result_aggregator::aggregate;
use sandbar_examples::traffic::generate::Options;
use sandbar_examples::traffic::{Entry, FIELD, Fate, Generator};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The stream that is read.
pub(crate) const STREAM: &str = "risk-assessment-results";
/// The consumer group that reads it: the plugin's name.
pub(crate) const GROUP: &str = "result-aggregator";
/// One request in so many has a detection in the store.
const DETECTION_EVERY: usize = 10;
/// Where the made-up pictures and detections begin.
const SEEDS: (u64, u64) = (1, 2);

/// What is handled, and how; handed on to the process that works.
#[derive(Debug, Clone, Args)]
pub(crate) struct Settings {
    /// Events of a measurement
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    pub(crate) events: u32,
    /// The most events of a batch
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) batch: u32,
    /// Batches handled and committed at the same time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) in_flight: u32,
    /// Batches read ahead of those
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=64))]
    pub(crate) prefetch: u32,
    /// The most objects of a picture; one is about 170 bytes, and pictures have half as many on average
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) objects: u32,
    /// Cameras
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) cameras: u32,
}

impl Settings {
    /// The same as arguments.
    pub(crate) fn to_arguments(&self) -> Vec<String> {
        let Self { events, batch, in_flight, prefetch, objects, cameras } = self;
        let named = [
            ("events", events),
            ("batch", batch),
            ("in-flight", in_flight),
            ("prefetch", prefetch),
            ("objects", objects),
            ("cameras", cameras),
        ];
        named.iter().map(|(name, value)| format!("--{name}={value}")).collect()
    }
}

/// One event.
#[derive(Debug)]
pub(crate) struct Event {
    /// The value of the entry's only field.
    pub(crate) data: String,
    /// The request that it names.
    pub(crate) request: String,
    /// Its camera.
    pub(crate) camera: String,
    /// When the picture was taken; no other event has the same.
    pub(crate) timestamp: String,
    /// Whether it is remembered as an alert.
    pub(crate) is_alert: bool,
    /// What the detector has stored for the request.
    pub(crate) detection: Option<String>,
}

/// The parts of an assessment that are looked at here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parts<'a> {
    request_id: &'a str,
    timestamp: &'a str,
    #[serde(borrow)]
    detected_objects: &'a RawValue,
}

impl Event {
    fn new(entry: Entry, detection: Option<Entry>) -> Option<Self> {
        let Fate::Result { camera, is_alert } = entry.fate else { return None };
        let data = entry.field.1;
        let parts: Parts<'_> = serde_json::from_str(&data).ok()?;
        let (request, timestamp) = (parts.request_id.to_owned(), parts.timestamp.to_owned());
        let detection = detection.and_then(|seen| {
            let parts: Parts<'_> = serde_json::from_str(&seen.field.1).ok()?;
            Some(format!(r#"{{"requestId":"{request}","detectedObjects":{}}}"#, parts.detected_objects))
        });
        Some(Self { data, request, camera, timestamp, is_alert, detection })
    }

    /// What must be published, as a native program makes it.
    pub(crate) fn result(&self) -> Result<Vec<u8>, String> {
        aggregate::parse(self.data.as_bytes())?.result(self.detection.as_deref().map(str::as_bytes))
    }
}

/// All events of a measurement, in the order of the stream.
#[derive(Debug)]
pub(crate) struct Workload {
    /// The events. The first of them has the id `1-0`, the next `2-0`.
    pub(crate) events: Vec<Event>,
}

impl Workload {
    /// Makes the events up; the same settings make the same ones.
    pub(crate) fn new(settings: &Settings) -> Self {
        let pictures = |seed| {
            let options = Options {
                seed,
                cameras: settings.cameras,
                malformed_share: 0.0,
                objects_max: settings.objects,
                ..Options::default()
            };
            Generator::new(options)
        };
        let mut detected = pictures(SEEDS.1);
        let event = |(at, entry)| {
            let detection = if at % DETECTION_EVERY == 0 { detected.next() } else { None };
            Event::new(entry, detection)
        };
        let events = pictures(SEEDS.0).take(settings.events as usize).enumerate().filter_map(event).collect();
        Self { events }
    }

    /// The mean size of an event, in bytes.
    pub(crate) fn mean_bytes(&self) -> usize {
        self.events.iter().map(|event| event.data.len()).sum::<usize>() / self.events.len().max(1)
    }

    /// Events by their timestamps.
    pub(crate) fn by_timestamp(&self, count: usize) -> HashMap<&str, &Event> {
        self.events.iter().take(count).map(|event| (event.timestamp.as_str(), event)).collect()
    }
}

/// The id of the entry with this index.
pub(crate) fn id(index: usize) -> String {
    format!("{}-0", index + 1)
}

/// The name of the entry's only field.
pub(crate) fn field() -> &'static str {
    FIELD
}
