//! The plugin `result-aggregator`: risk assessments of traffic cameras become live results and alerts.
//!
//! It knows the keys, the channel and the host's calls; what a result says is decided in [`aggregate`], which is pure.
//! All that a batch joins is read in one round trip to the store, and one buffer a result is published, set and pushed.

pub mod aggregate;

use std::time::Duration;

use sandbar_sdk::prelude::*;

use aggregate::{ALERTS_KEPT, Assessment, LATEST_TTL_MS};

/// The field of a stream entry that holds the assessment.
const FIELD: &str = "data";
/// How many keys the host reads at one instant.
const READ_KEYS_MAX: usize = 1_000;

sandbar_sdk::batch_handler!(handle);

/// Handles a batch. It fails as a whole, and is halved by the host, only where the join or the configuration is
/// refused.
fn handle(batch: &[Event]) -> Result<Vec<Outcome>, String> {
    let ttl_ms = config::parse("latest-ttl-ms").map_err(|error| error.to_string())?.unwrap_or(LATEST_TTL_MS);
    let assessments: Vec<_> = batch.iter().map(read).collect();
    let mut detections = match detections(&assessments) {
        Ok(detections) => detections.into_iter(),
        Err(error) if error.is_transient() => {
            return Ok(batch.iter().map(|_| Outcome::from(Failure::from(error.clone()))).collect());
        }
        Err(error) => return Err(error.to_string()),
    };
    let handled = batch.iter().zip(assessments).map(|(event, assessment)| {
        let assessment = assessment?;
        let detection = assessment.request_id().and_then(|_| detections.next()).flatten();
        deliver(event, &assessment, detection.as_deref(), Duration::from_millis(ttl_ms))
    });
    Ok(handled.map(Outcome::from).collect())
}

/// The assessment that an event carries.
fn read(event: &Event) -> Result<Assessment<'_>, Failure> {
    aggregate::parse(event.bytes(FIELD)?).map_err(Failure::Reject)
}

/// What the detector has stored, for each assessment that names a request, in their order.
fn detections(assessments: &[Result<Assessment<'_>, Failure>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
    let requests = assessments.iter().flatten().filter_map(Assessment::request_id);
    let keys: Vec<_> = requests.map(|id| ["detection:", id].concat()).collect();
    let mut values = Vec::with_capacity(keys.len());
    for keys in keys.chunks(READ_KEYS_MAX) {
        values.extend(cache::get_many(keys)?);
    }
    Ok(values)
}

/// Publishes one result, keeps it as the camera's latest, and remembers it as an alert where the risk is high.
fn deliver(event: &Event, assessment: &Assessment<'_>, detection: Option<&[u8]>, ttl: Duration) -> Result<(), Failure> {
    let result = assessment.result(detection).map_err(Failure::Reject)?;
    let camera = assessment.camera_id();
    transaction::for_event(&event.id)?;
    pubsub::publish(&["camera:", camera].concat(), &result)?;
    cache::set(&["camera:", camera, ":latest"].concat(), &result, ttl)?;
    if assessment.is_alert() {
        collections::list_push(&["alerts:", camera].concat(), End::Front, &[&result], Some(ALERTS_KEPT))?;
    }
    Ok(())
}
