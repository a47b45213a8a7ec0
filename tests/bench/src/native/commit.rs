//! The commit: a transaction that watches the fence key, on a connection of its own.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Client, Pipeline, Value};
use tokio::sync::Semaphore;

use super::effects::Effects;
use super::{Batch, FENCE, connect};
use crate::workload::{GROUP, STREAM};

/// A pool of connections, since `WATCH` belongs to one.
pub(super) struct Committer {
    idle: Mutex<Vec<MultiplexedConnection>>,
    permits: Semaphore,
}

impl Committer {
    /// Makes the connections.
    pub(super) async fn connect(client: &Client, count: usize) -> Result<Self> {
        let mut idle = Vec::with_capacity(count);
        for _ in 0..count {
            idle.push(connect(client).await?);
        }
        Ok(Self { idle: Mutex::new(idle), permits: Semaphore::new(count) })
    }

    /// Applies the effects of a batch and acknowledges it: all of it, or nothing.
    pub(super) async fn commit(&self, batch: &Batch, effects: &Effects) -> Result<()> {
        let _permit = self.permits.acquire().await?;
        let mut connection = self.idle().pop().context("an idle connection")?;
        transaction(&mut connection, batch, effects).await?;
        self.idle().push(connection);
        Ok(())
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<MultiplexedConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn transaction(connection: &mut MultiplexedConnection, batch: &Batch, effects: &Effects) -> Result<()> {
    let mut pipeline = Pipeline::with_capacity(2);
    pipeline.cmd("WATCH").arg(FENCE).ignore();
    pipeline.cmd("GET").arg(FENCE);
    let (epoch,): (Vec<u8>,) = pipeline.query_async(connection).await?;
    ensure!(epoch == batch.epoch, "the entries were taken over");
    let mut pipeline = Pipeline::with_capacity(effects.commands() + 3);
    pipeline.cmd("MULTI");
    effects.encode(&mut pipeline);
    pipeline.cmd("XACK").arg(STREAM).arg(GROUP);
    batch.entries.iter().for_each(|entry| _ = pipeline.arg(&entry.id[..]));
    pipeline.cmd("EXEC");
    let answers = connection.req_packed_commands(&pipeline, 0, pipeline.len()).await?;
    match answers.into_iter().next_back() {
        Some(Value::Array(answers)) => {
            let refused = answers.into_iter().find(|answer| matches!(answer, Value::ServerError(_)));
            refused.map_or(Ok(()), |error| bail!("a command was refused: {error:?}"))
        }
        Some(Value::Nil) => bail!("the entries were taken over"),
        other => bail!("EXEC answered {other:?}"),
    }
}
