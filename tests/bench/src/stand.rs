//! A server of its own for each measurement: filled before, looked at afterwards.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use redis::{Connection, Pipeline, cmd};
use result_aggregator::aggregate::{ALERTS_KEPT, LATEST_TTL_MS};
use sandbar_tests::{Options, RedisServer};
use serde_json::Value;

use crate::child::Working;
use crate::cpu;
use crate::workload::{Event, GROUP, STREAM, Workload, field, id};

/// How many entries are appended in one write.
const FILL_CHUNK: usize = 500;
/// How often the group is looked at until all is acknowledged: a look costs the server a few microseconds.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);
/// How long a measurement may take.
const LIMIT: Duration = Duration::from_secs(300);

/// A server with a stream.
pub(crate) struct Stand {
    server: RedisServer,
    connection: Connection,
    /// How many events it has.
    count: usize,
}

impl Stand {
    /// A server with the consumer group and the detections of the first `count` events, but without events.
    pub(crate) fn empty(workload: &Workload, count: usize) -> Result<Self> {
        let server = Options::new().port().start();
        let mut connection = server.connect();
        cmd("XGROUP").arg(&["CREATE", STREAM, GROUP, "0", "MKSTREAM"]).exec(&mut connection)?;
        for chunk in workload.events.get(..count).context("enough events")?.chunks(FILL_CHUNK) {
            let mut pipeline = Pipeline::new();
            for event in chunk {
                if let Some(detection) = &event.detection {
                    pipeline.cmd("SET").arg(format!("detection:{}", event.request)).arg(detection).ignore();
                }
            }
            pipeline.exec(&mut connection)?;
        }
        Ok(Self { server, connection, count })
    }

    /// The same with the events.
    pub(crate) fn filled(workload: &Workload, count: usize) -> Result<Self> {
        let mut this = Self::empty(workload, count)?;
        for (at, chunk) in workload.events.get(..count).context("enough events")?.chunks(FILL_CHUNK).enumerate() {
            let mut pipeline = Pipeline::new();
            for (offset, event) in chunk.iter().enumerate() {
                pipeline
                    .cmd("XADD")
                    .arg(STREAM)
                    .arg(id(at * FILL_CHUNK + offset))
                    .arg(field())
                    .arg(&event.data)
                    .ignore();
            }
            pipeline.exec(&mut this.connection)?;
        }
        cmd("CONFIG").arg("RESETSTAT").exec(&mut this.connection)?;
        Ok(this)
    }

    /// Where the server is.
    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// A further connection.
    pub(crate) fn connect(&self) -> Connection {
        self.server.connect()
    }

    /// The CPU that the server has used.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu::used(self.server.pid())
    }

    /// Waits until every event is delivered and acknowledged.
    pub(crate) fn wait(&mut self, working: &mut Working) -> Result<()> {
        let begun = Instant::now();
        while !self.is_done()? {
            working.check()?;
            if begun.elapsed() > LIMIT {
                bail!("not all events were handled within {LIMIT:?}");
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    fn is_done(&mut self) -> Result<bool> {
        let groups: Vec<HashMap<String, redis::Value>> =
            cmd("XINFO").arg("GROUPS").arg(STREAM).query(&mut self.connection)?;
        let group = groups.first().context("the consumer group is gone")?;
        let number = |name: &str| group.get(name).and_then(|value| redis::from_redis_value_ref::<usize>(value).ok());
        Ok(number("pending") == Some(0) && number("entries-read") == Some(self.count))
    }

    /// Fails unless each event has had its effects, and no others: so many messages, for each camera one of its own
    /// results as the latest with its time to live, and the right number of alerts, all different and its own.
    pub(crate) fn verify(&mut self, workload: &Workload) -> Result<()> {
        let published = self.calls("publish")?;
        ensure!(published == self.count, "{published} messages were published for {} events", self.count);
        let dead: usize = cmd("XLEN").arg(format!("{STREAM}:dead")).query(&mut self.connection)?;
        ensure!(dead == 0, "{dead} events became dead letters");
        let by_timestamp = workload.by_timestamp(self.count);
        let mut alerts: HashMap<&str, usize> = HashMap::new();
        for event in workload.events.iter().take(self.count) {
            *alerts.entry(&event.camera).or_default() += usize::from(event.is_alert);
        }
        for (camera, expected) in alerts {
            let key = format!("camera:{camera}:latest");
            let (latest, ttl): (Vec<u8>, i64) =
                redis::pipe().get(&key).pttl(&key).query(&mut self.connection).context(key.clone())?;
            ensure!((1..=LATEST_TTL_MS as i64).contains(&ttl), "`{key}` has a time to live of {ttl} ms");
            check(&latest, camera, &by_timestamp)?;
            let key = format!("alerts:{camera}");
            let list: Vec<Vec<u8>> = cmd("LRANGE").arg(&key).arg(0).arg(-1).query(&mut self.connection)?;
            let kept = expected.min(ALERTS_KEPT as usize);
            ensure!(list.len() == kept, "`{key}` has {} alerts instead of {kept}", list.len());
            let mut seen = HashMap::new();
            for alert in &list {
                let event = check(alert, camera, &by_timestamp)?;
                ensure!(event.is_alert, "`{key}` has a result that is no alert");
                ensure!(seen.insert(&event.timestamp, ()).is_none(), "`{key}` has an alert twice");
            }
        }
        Ok(())
    }

    /// How often a command was called.
    fn calls(&mut self, command: &str) -> Result<usize> {
        let stats: String = cmd("INFO").arg("commandstats").query(&mut self.connection)?;
        let begin = format!("cmdstat_{command}:calls=");
        let line = stats.lines().find_map(|line| line.strip_prefix(&begin)).unwrap_or("0");
        line.split(',').next().unwrap_or_default().parse().context("the statistics of commands")
    }
}

/// Checks that a stored result is what must come of an event of this camera, and answers the event.
fn check<'a>(result: &[u8], camera: &str, events: &HashMap<&str, &'a Event>) -> Result<&'a Event> {
    let found: Value = serde_json::from_slice(result).context("a result is no JSON")?;
    let timestamp = found.get("timestamp").and_then(Value::as_str).context("a result without a timestamp")?;
    let event = *events.get(timestamp).with_context(|| format!("no event has the timestamp {timestamp}"))?;
    ensure!(event.camera == camera, "a result of camera {} is with camera {camera}", event.camera);
    let expected: Value = serde_json::from_slice(&event.result().map_err(anyhow::Error::msg)?)?;
    ensure!(found == expected, "a result is {found} instead of {expected}");
    Ok(event)
}
