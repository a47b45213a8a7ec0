//! Variant (b): a native consumer with the same commit, as a careful engineer would write it without Sandbar.
//!
//! One task reads ahead; up to `in_flight` batches are handled and committed at the same time; the writes of a batch
//! that overwrite each other are combined, and its effects go with the acknowledgement into one transaction that
//! watches the consumer's fence key. It shares the function from assessment to result with the plugin, and nothing
//! with the host. Takeover by other consumers and recovery after faults are skipped: here nothing fails.

mod commit;
mod effects;

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, Pipeline, Value, cmd};
use result_aggregator::aggregate;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::child;
use crate::workload::{GROUP, STREAM, Settings, field};
use commit::Committer;
use effects::{Effects, Outcome};

/// The name of the only consumer.
const CONSUMER: &str = "native-1";
/// Its fence key.
const FENCE: &str = "native:fence:1";
/// How long a read waits for entries, in milliseconds.
const BLOCK_MS: u64 = 1_000;

/// An entry of the stream.
struct Entry {
    id: Bytes,
    data: Bytes,
}

/// Entries read in one step, and the value of the fence key at that step.
struct Batch {
    epoch: Vec<u8>,
    entries: Vec<Entry>,
}

/// What the tasks share.
struct Consumer {
    /// For detections.
    shared: MultiplexedConnection,
    committer: Committer,
    handling: Semaphore,
}

/// Consumes until the process is ended.
#[tokio::main]
pub(crate) async fn work(url: &str, settings: &Settings) -> Result<()> {
    let info = url.into_connection_info()?;
    let client = Client::open(info.set_tcp_settings(TcpSettings::default().set_nodelay(true)))?;
    let in_flight = settings.in_flight as usize;
    let mut reader = connect(&client).await?;
    cmd("SET").arg(FENCE).arg(1).exec_async(&mut reader).await?;
    let consumer = Arc::new(Consumer {
        shared: connect(&client).await?,
        committer: Committer::connect(&client, in_flight).await?,
        handling: Semaphore::new(in_flight),
    });
    let room = Arc::new(Semaphore::new(in_flight + settings.prefetch as usize));
    child::ready()?;
    loop {
        let place = room.clone().acquire_owned().await?;
        let batch = read(&mut reader, settings.batch).await?;
        if !batch.entries.is_empty() {
            tokio::spawn(run(consumer.clone(), batch, place));
        }
    }
}

/// A connection whose answers may take as long as a read waits.
async fn connect(client: &Client) -> Result<MultiplexedConnection> {
    let settings = AsyncConnectionConfig::new().set_response_timeout(None);
    Ok(client.get_multiplexed_async_connection_with_config(&settings).await?)
}

/// Reads entries not yet delivered, with the epoch of this moment.
async fn read(reader: &mut MultiplexedConnection, count: u32) -> Result<Batch> {
    let mut pipeline = Pipeline::with_capacity(2);
    pipeline.cmd("GET").arg(FENCE);
    pipeline.cmd("XREADGROUP").arg("GROUP").arg(GROUP).arg(CONSUMER).arg("COUNT").arg(count);
    pipeline.arg("BLOCK").arg(BLOCK_MS).arg("STREAMS").arg(STREAM).arg(">");
    let (epoch, streams): (Vec<u8>, Value) = pipeline.query_async(reader).await?;
    let entries = match streams {
        Value::Nil => Vec::new(),
        Value::Array(streams) => entries(streams).context("XREADGROUP answered an unknown shape")?,
        other => anyhow::bail!("XREADGROUP answered {other:?}"),
    };
    Ok(Batch { epoch, entries })
}

/// Takes the entries of the only stream out of an answer, without copying them.
fn entries(streams: Vec<Value>) -> Option<Vec<Entry>> {
    let Value::Array(stream) = streams.into_iter().next()? else { return None };
    let Value::Array(entries) = stream.into_iter().nth(1)? else { return None };
    let entry = |entry| {
        let Value::Array(parts) = entry else { return None };
        let mut parts = parts.into_iter();
        let (Value::BulkString(id), Value::Array(fields)) = (parts.next()?, parts.next()?) else { return None };
        let mut fields = fields.into_iter();
        while let (Some(Value::BulkString(name)), Some(Value::BulkString(data))) = (fields.next(), fields.next()) {
            if name == field().as_bytes() {
                return Some(Entry { id: id.into(), data: data.into() });
            }
        }
        None
    };
    entries.into_iter().map(entry).collect()
}

/// Handles and commits a batch.
async fn run(consumer: Arc<Consumer>, batch: Batch, _place: OwnedSemaphorePermit) {
    let handled = async {
        let effects = {
            let _permit = consumer.handling.acquire().await?;
            handle(&consumer, &batch.entries).await?
        };
        consumer.committer.commit(&batch, &effects).await
    };
    if let Err(error) = handled.await {
        eprintln!("the native consumer failed: {error:#}");
        std::process::abort();
    }
}

/// Joins a batch with its detections and decides what it does.
async fn handle(consumer: &Consumer, entries: &[Entry]) -> Result<Effects> {
    let assessments: Vec<_> = entries.iter().map(|entry| aggregate::parse(&entry.data)).collect();
    let requests: Vec<_> = assessments.iter().flatten().filter_map(|assessment| assessment.request_id()).collect();
    let keys: Vec<_> = requests.iter().map(|request| format!("detection:{request}")).collect();
    let detections: Vec<Option<Vec<u8>>> = match keys.as_slice() {
        [] => Vec::new(),
        keys => cmd("MGET").arg(keys).query_async(&mut consumer.shared.clone()).await?,
    };
    ensure!(detections.len() == keys.len(), "MGET answered {} values", detections.len());
    let mut detections = detections.into_iter();
    let mut effects = Effects::with_capacity(entries.len());
    for assessment in assessments {
        let outcome = assessment.and_then(|assessment| {
            let detection = assessment.request_id().and_then(|_| detections.next()).flatten();
            let result = Bytes::from(assessment.result(detection.as_deref())?);
            let camera = assessment.camera_id().to_owned();
            Ok(Outcome { camera, result, is_alert: assessment.is_alert() })
        });
        // Where an input may be malformed, this is where it would be dead-lettered.
        effects.add(outcome.map_err(anyhow::Error::msg)?);
    }
    Ok(effects)
}
