//! Variant (c): the same commands, prepared beforehand and written raw: the bound of what any client can reach.
//!
//! It knows beforehand what it reads, so it makes and writes whole batches, each with its read, its join and its
//! commit, over one connection. Up to `in_flight` batches are unanswered at a time. Answers are only skipped; an
//! error ends it.

mod replies;

use std::io::Write;
use std::net::TcpStream;

use anyhow::{Context, Result};
use redis::{Cmd, ConnectionAddr, IntoConnectionInfo, cmd};
use result_aggregator::aggregate::{ALERTS_KEPT, LATEST_TTL_MS};

use crate::child;
use crate::workload::{Event, GROUP, STREAM, Settings, Workload, id};
use replies::Replies;

/// The name of the only consumer.
const CONSUMER: &str = "raw-1";
/// Its fence key.
const FENCE: &str = "raw:fence:1";

/// The commands of a batch.
#[derive(Default)]
struct Prepared {
    bytes: Vec<u8>,
    /// How many answers they get.
    answers: usize,
}

impl Prepared {
    fn add(&mut self, command: &mut Cmd) {
        command.write_packed_command(&mut self.bytes);
        self.answers += 1;
    }
}

/// Writes all batches, then rests until the process is ended.
pub(crate) fn work(url: &str, settings: &Settings) -> Result<()> {
    let info = url.into_connection_info()?;
    let ConnectionAddr::Tcp(host, port) = info.addr() else { anyhow::bail!("{url} is no TCP address") };
    let mut stream = TcpStream::connect((host.as_str(), *port))?;
    stream.set_nodelay(true)?;
    let mut replies = Replies::new(stream.try_clone()?);
    stream.write_all(&cmd("SET").arg(FENCE).arg(1).get_packed_command())?;
    replies.skip(1)?;
    let batches = prepare(settings).map_err(anyhow::Error::msg)?;
    child::ready()?;
    let in_flight = settings.in_flight as usize;
    for (at, batch) in batches.iter().enumerate() {
        if let Some(oldest) = at.checked_sub(in_flight).and_then(|oldest| batches.get(oldest)) {
            replies.skip(oldest.answers)?;
        }
        stream.write_all(&batch.bytes).context("the server closed the connection")?;
    }
    for batch in batches.iter().rev().take(in_flight).rev() {
        replies.skip(batch.answers)?;
    }
    child::rest()
}

fn prepare(settings: &Settings) -> Result<Vec<Prepared>, String> {
    let workload = Workload::new(settings);
    let size = settings.batch as usize;
    let chunks = workload.events.chunks(size).enumerate();
    chunks.map(|(at, events)| batch(events, at * size, settings.batch)).collect()
}

/// The commands of the events from this index on.
fn batch(events: &[Event], first: usize, size: u32) -> Result<Prepared, String> {
    let mut batch = Prepared::default();
    batch.add(cmd("GET").arg(FENCE));
    let mut read = cmd("XREADGROUP");
    read.arg(&["GROUP", GROUP, CONSUMER]).arg("COUNT").arg(size).arg("STREAMS").arg(STREAM).arg(">");
    batch.add(&mut read);
    let mut join = cmd("MGET");
    events.iter().for_each(|event| _ = join.arg(format!("detection:{}", event.request)));
    batch.add(&mut join);
    batch.add(cmd("WATCH").arg(FENCE));
    batch.add(cmd("GET").arg(FENCE));
    batch.add(&mut cmd("MULTI"));
    let results = events.iter().map(Event::result).collect::<Result<Vec<_>, _>>()?;
    for (event, result) in events.iter().zip(&results) {
        batch.add(cmd("PUBLISH").arg(format!("camera:{}", event.camera)).arg(&result[..]));
    }
    let mut cameras: Vec<_> = events.iter().map(|event| event.camera.as_str()).collect();
    cameras.sort_unstable();
    cameras.dedup();
    for camera in cameras {
        let of_camera = || events.iter().zip(&results).filter(|(event, _)| event.camera == camera);
        if let Some((_, latest)) = of_camera().next_back() {
            let key = format!("camera:{camera}:latest");
            batch.add(cmd("SET").arg(key).arg(&latest[..]).arg("PX").arg(LATEST_TTL_MS));
        }
        let alerts: Vec<_> = of_camera().filter(|(event, _)| event.is_alert).map(|(_, result)| &result[..]).collect();
        if !alerts.is_empty() {
            let key = format!("alerts:{camera}");
            let cut = alerts.len().saturating_sub(ALERTS_KEPT as usize);
            let mut push = cmd("LPUSH");
            push.arg(&key);
            alerts.iter().skip(cut).for_each(|alert| _ = push.arg(alert));
            batch.add(&mut push);
            batch.add(cmd("LTRIM").arg(&key).arg(0).arg(ALERTS_KEPT - 1));
        }
    }
    let mut acknowledge = cmd("XACK");
    acknowledge.arg(STREAM).arg(GROUP);
    (first..first + events.len()).for_each(|index| _ = acknowledge.arg(id(index)));
    batch.add(&mut acknowledge);
    batch.add(&mut cmd("EXEC"));
    Ok(batch)
}
