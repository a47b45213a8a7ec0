//! What a batch does, with writes combined that overwrite or continue each other.

use std::collections::HashMap;

use bytes::Bytes;
use redis::{Cmd, Pipeline};
use result_aggregator::aggregate::{ALERTS_KEPT, LATEST_TTL_MS};

/// What an argument takes beside its bytes, roughly.
const ARGUMENT_OVERHEAD_BYTES: usize = 24;

/// What comes of one event.
pub(super) struct Outcome {
    /// The camera.
    pub(super) camera: String,
    /// The result.
    pub(super) result: Bytes,
    /// Whether it is remembered.
    pub(super) is_alert: bool,
}

/// What comes of a batch.
#[derive(Default)]
pub(super) struct Effects {
    /// Every result, in order, with its camera.
    published: Vec<(String, Bytes)>,
    /// The last result of each camera.
    latest: HashMap<String, Bytes>,
    /// The alerts of each camera, in order.
    alerts: HashMap<String, Vec<Bytes>>,
}

impl Effects {
    pub(super) fn with_capacity(events: usize) -> Self {
        Self { published: Vec::with_capacity(events), ..Self::default() }
    }

    /// Adds what comes of the next event.
    pub(super) fn add(&mut self, outcome: Outcome) {
        let Outcome { camera, result, is_alert } = outcome;
        if is_alert {
            self.alerts.entry(camera.clone()).or_default().push(result.clone());
        }
        match self.latest.get_mut(&camera) {
            Some(latest) => *latest = result.clone(),
            None => _ = self.latest.insert(camera.clone(), result.clone()),
        }
        self.published.push((camera, result));
    }

    /// Adds the commands.
    pub(super) fn encode(&self, pipeline: &mut Pipeline) {
        for (camera, result) in &self.published {
            let mut publish = sized(3, result.len());
            publish.arg("PUBLISH").arg(format!("camera:{camera}")).arg(&result[..]);
            pipeline.add_command(publish);
        }
        for (camera, result) in &self.latest {
            let mut set = sized(5, result.len());
            set.arg("SET").arg(format!("camera:{camera}:latest")).arg(&result[..]).arg("PX").arg(LATEST_TTL_MS);
            pipeline.add_command(set);
        }
        for (camera, alerts) in &self.alerts {
            let key = format!("alerts:{camera}");
            // What the list would cut off at once is not sent.
            let cut = alerts.len().saturating_sub(ALERTS_KEPT as usize);
            let kept = || alerts.iter().skip(cut);
            let mut push = sized(2 + alerts.len() - cut, kept().map(Bytes::len).sum());
            push.arg("LPUSH").arg(&key);
            kept().for_each(|alert| _ = push.arg(&alert[..]));
            pipeline.add_command(push);
            pipeline.cmd("LTRIM").arg(&key).arg(0).arg(ALERTS_KEPT - 1);
        }
    }

    /// How many commands there are at most.
    pub(super) fn commands(&self) -> usize {
        self.published.len() + self.latest.len() + 2 * self.alerts.len()
    }
}

/// A command with room for its arguments.
fn sized(arguments: usize, bytes: usize) -> Cmd {
    Cmd::with_capacity(arguments, bytes + arguments * ARGUMENT_OVERHEAD_BYTES)
}
