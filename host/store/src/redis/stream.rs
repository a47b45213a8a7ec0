//! Streams of a server: ranges, state, and trimming.
//!
//! A range is bounded by the count that the caller gives; the state of a stream is one write of three commands.

use ::redis::{Pipeline, Value, cmd};
use async_trait::async_trait;

use super::effects::Ids;
use super::scripts::Script;
use super::{Redis, effects, reply};
use crate::{Entry, EntryId, Group, Retention, StoreError, Stream, StreamInfo};

#[async_trait]
impl Stream for Redis {
    async fn range(
        &self,
        stream: &str,
        start: EntryId,
        end: EntryId,
        count: u32,
        reverse: bool,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut command = if reverse { cmd("XREVRANGE") } else { cmd("XRANGE") };
        let (from, to) = if reverse { (end, start) } else { (start, end) };
        command.arg(stream).arg(Ids(&[from, to])).arg("COUNT").arg(count);
        reply::entries(self.query(&command).await?, stream)
    }

    async fn length(&self, stream: &str) -> Result<u64, StoreError> {
        reply::count(self.query(cmd("XLEN").arg(stream)).await?, stream)
    }

    async fn info(&self, stream: &str) -> Result<Option<StreamInfo>, StoreError> {
        let mut pipeline = Pipeline::with_capacity(3);
        pipeline.cmd("XINFO").arg("STREAM").arg(stream);
        pipeline.cmd("XINFO").arg("GROUPS").arg(stream);
        pipeline.cmd("MEMORY").arg("USAGE").arg(stream);
        let mut answers = self.query_all(&pipeline).await?.into_iter();
        let mut next = || answers.next().unwrap_or_default();
        let (state, groups, memory) = (next(), next(), next());
        if is_missing(&state) || is_missing(&groups) {
            return Ok(None);
        }
        let mut info = state_of(state, stream)?;
        for group in reply::list(groups, stream)? {
            info.groups.push(group_of(group, stream)?);
        }
        info.groups.sort_by(|a, b| a.name.cmp(&b.name));
        // Counting memory may not be permitted; the rest of the state is known all the same.
        info.memory_bytes = reply::count(memory, stream).unwrap_or_default();
        Ok(Some(info))
    }

    async fn trim(&self, stream: &str, retention: Retention, keep_unread: bool) -> Result<u64, StoreError> {
        if retention == Retention::Unlimited {
            return Err(StoreError::Invalid(format!("trimming `{stream}` needs a length or an id to keep")));
        }
        if !keep_unread {
            let mut command = cmd("XTRIM");
            command.arg(stream);
            effects::retain(retention, &mut command);
            return reply::count(self.query(&command).await?, stream);
        }
        let (strategy, threshold) = match retention {
            Retention::Unlimited => ("=", String::new()),
            Retention::About(length) => ("~", length.to_string()),
            Retention::Exactly(length) => ("=", length.to_string()),
            Retention::MinId(id) => ("MINID", id.to_string()),
        };
        let answer = self.eval(Script::Trim, &[stream], &[strategy.as_bytes(), threshold.as_bytes()]).await?;
        reply::count(answer, stream)
    }
}

/// XINFO's answer where there is no such stream.
fn is_missing(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(err) if err.details().is_some_and(|detail| detail.contains("no such key")))
}

/// Reads XINFO STREAM; fields that this host does not know are passed over.
fn state_of(answer: Value, stream: &str) -> Result<StreamInfo, StoreError> {
    let mut info = StreamInfo { length: 0, first_id: None, last_id: None, memory_bytes: 0, groups: Vec::new() };
    let id = |entry| reply::raw_entry(entry, stream).map(|entry| entry.map(|(id, _)| id));
    for (name, value) in reply::pairs(answer, stream)? {
        match reply::text_lossy(name, stream)?.as_str() {
            "length" => info.length = reply::count(value, stream)?,
            "first-entry" => info.first_id = id(value)?,
            "last-entry" => info.last_id = id(value)?,
            _ => {}
        }
    }
    Ok(info)
}

/// Reads one group of XINFO GROUPS. The lag is missing before Redis 7, and nothing where it is not known.
pub(super) fn group_of(answer: Value, stream: &str) -> Result<Group, StoreError> {
    let mut group = Group { name: String::new(), consumers: 0, pending: 0, lag: None, last_delivered: EntryId::ZERO };
    for (name, value) in reply::pairs(answer, stream)? {
        match reply::text_lossy(name, stream)?.as_str() {
            "name" => group.name = reply::text_lossy(value, stream)?,
            "consumers" => group.consumers = reply::count(value, stream)?,
            "pending" => group.pending = reply::count(value, stream)?,
            "last-delivered-id" => group.last_delivered = reply::entry_id(value, stream)?,
            "lag" if value != Value::Nil => group.lag = Some(reply::count(value, stream)?),
            _ => {}
        }
    }
    Ok(group)
}
