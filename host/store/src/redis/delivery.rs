//! Delivery of stream entries. Everything that moves an entry from one consumer to another is one script.

use ::redis::{Pipeline, Value, cmd};
use async_trait::async_trait;
use rand::RngExt;

use super::super::{
    Backlog, Batch, Commit, CommitError, Committed, Consumer, Delivered, Delivery, Due, EntryId, Epoch, GroupStart,
    Source, StoreError, Taken, Wake,
};
use super::scripts::Script;
use super::{Redis, reply};

/// How long an unused fence key stays. A consumer that meets its key gone begins a new epoch, so this only bounds
/// what dead consumers leave behind.
const FENCE_TTL_MS: u64 = 7 * 24 * 3600 * 1000;
/// Where epochs begin: below this, at random.
const EPOCH_START_MAX: u64 = 1 << 48;
/// A consumer with nothing pending is removed after being silent for so many times `idle_ms`, but not before
/// [`CONSUMER_SILENT_MIN_MS`].
const CONSUMER_SILENT_FACTOR: u64 = 10;
/// See [`CONSUMER_SILENT_FACTOR`].
const CONSUMER_SILENT_MIN_MS: u64 = 60_000;

#[async_trait]
impl Delivery for Redis {
    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    fn is_available(&self) -> bool {
        self.shared.is_up()
    }

    async fn open(&self, source: &Source, start: GroupStart) -> Result<(), StoreError> {
        let start = match start {
            GroupStart::New => "$".to_owned(),
            GroupStart::After(id) => id.to_string(),
        };
        let mut command = cmd("XGROUP");
        command.arg("CREATE").arg(&source.stream).arg(&source.group).arg(start).arg("MKSTREAM");
        match self.query(&command).await? {
            Value::ServerError(error) if error.code() == "BUSYGROUP" => Ok(()),
            answer => reply::done(answer, &source.stream),
        }
    }

    async fn join(&self, consumer: &Consumer) -> Result<(), StoreError> {
        let source = &consumer.source;
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("XGROUP").arg("CREATECONSUMER").arg(&source.stream).arg(&source.group).arg(&consumer.name);
        pipeline.cmd("SET").arg(&consumer.fence_key).arg(epoch_start()).arg("PX").arg(FENCE_TTL_MS);
        for answer in self.query_all(&pipeline).await? {
            reply::done(answer, &source.stream)?;
        }
        Ok(())
    }

    async fn leave(&self, consumer: &Consumer) -> Result<(), StoreError> {
        let source = &consumer.source;
        let keys = [source.stream.as_str(), &consumer.fence_key];
        self.eval(Script::Leave, &keys, &[source.group.as_bytes(), consumer.name.as_bytes()]).await.map(drop)
    }

    async fn read(&self, consumer: &Consumer, count: u32) -> Result<Batch, StoreError> {
        let source = &consumer.source;
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("GET").arg(&consumer.fence_key);
        pipeline.cmd("XREADGROUP").arg("GROUP").arg(&source.group).arg(&consumer.name);
        pipeline.arg("COUNT").arg(count).arg("STREAMS").arg(&source.stream).arg(">");
        let mut answers = self.query_all(&pipeline).await?.into_iter();
        let epoch = epoch(answers.next().unwrap_or_default(), &consumer.fence_key)?;
        let entries = reply::read_entries(answers.next().unwrap_or_default(), &source.stream)?;
        let events = entries
            .into_iter()
            .map(|(id, fields)| Delivered { id, fields: fields.unwrap_or_default(), attempt: 1 })
            .collect();
        Ok(Batch { epoch, events })
    }

    async fn fence(&self, consumer: &Consumer) -> Result<Epoch, StoreError> {
        let mut connection = self.private.fresh().await?;
        let answer = self
            .scripts
            .get(Script::Fence)
            .key(&consumer.fence_key)
            .arg(epoch_start())
            .arg(FENCE_TTL_MS)
            .invoke_async::<Value>(&mut connection)
            .await
            .map_err(|error| reply::error(&error))?;
        epoch(answer, &consumer.fence_key)?
            .ok_or_else(|| StoreError::Unavailable(format!("`{}` vanished", consumer.fence_key)))
    }

    async fn pending(&self, consumer: &Consumer, after: EntryId, count: u32) -> Result<Taken, StoreError> {
        let (after, count) = (after.to_string(), count.to_string());
        let arguments = [after.as_bytes(), count.as_bytes()];
        let answer = self.deliver(Script::Pending, consumer, &arguments).await?;
        taken(answer, consumer)
    }

    async fn take_over(
        &self,
        consumer: &Consumer,
        idle_ms: u64,
        after: EntryId,
        count: u32,
    ) -> Result<Taken, StoreError> {
        let silent_ms = idle_ms.saturating_mul(CONSUMER_SILENT_FACTOR).max(CONSUMER_SILENT_MIN_MS).to_string();
        let (idle_ms, after, count) = (idle_ms.to_string(), after.to_string(), count.to_string());
        let prefix = consumer.source.fence_prefix();
        let arguments =
            [idle_ms.as_bytes(), after.as_bytes(), count.as_bytes(), prefix.as_bytes(), silent_ms.as_bytes()];
        let answer = self.deliver(Script::TakeOver, consumer, &arguments).await?;
        taken(answer, consumer)
    }

    async fn due(&self, consumer: &Consumer, count: u32) -> Result<Due, StoreError> {
        let (now_ms, count) = (self.now_ms().to_string(), count.to_string());
        let answer = self.deliver(Script::Due, consumer, &[now_ms.as_bytes(), count.as_bytes()]).await?;
        let (batch, next, vanished) = handed(answer, consumer)?;
        let next_ms = reply::score(next, &consumer.source.retry_key)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds, saturating")]
        let next_ms = next_ms.map(|ms| ms.ceil() as u64);
        Ok(Due { batch, next_ms, vanished })
    }

    async fn keep_alive(&self, consumer: &Consumer, epoch: Epoch, ids: &[EntryId]) -> Result<bool, StoreError> {
        if ids.is_empty() {
            return Ok(true);
        }
        let source = &consumer.source;
        let texts: Vec<String> = [epoch.0.to_string()].into_iter().chain(ids.iter().map(EntryId::to_string)).collect();
        let mut arguments = vec![source.group.as_bytes(), consumer.name.as_bytes()];
        arguments.extend(texts.iter().map(String::as_bytes));
        let answer = self.eval(Script::KeepAlive, &[&source.stream, &consumer.fence_key], &arguments).await?;
        Ok(reply::integer(answer, &source.stream)? == 1)
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<Committed, CommitError> {
        let effects = commit.effects;
        let made = self.make_commit(commit).await;
        if !matches!(made, Err(CommitError::Fenced | CommitError::Conflict(_))) {
            // The server's own word comes over another connection, somewhat later.
            self.changes.made(effects);
        }
        made
    }

    async fn backlog(&self, source: &Source) -> Result<Backlog, StoreError> {
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("XINFO").arg("GROUPS").arg(&source.stream);
        pipeline.cmd("XLEN").arg(&source.dead_key);
        let mut answers = self.query_all(&pipeline).await?.into_iter();
        let groups = reply::list(answers.next().unwrap_or_default(), &source.stream)?;
        let dead = reply::count(answers.next().unwrap_or_default(), &source.dead_key)?;
        for group in groups {
            let group = super::stream::group_of(group, &source.stream)?;
            if group.name == source.group {
                return Ok(Backlog { pending: group.pending, lag: group.lag, dead });
            }
        }
        Err(StoreError::NoGroup(format!("the stream `{}` has no group `{}`", source.stream, source.group)))
    }

    fn watch(&self, stream: &str) -> Wake {
        let wake = self.wakes.watch(stream);
        self.tracking.changed();
        wake
    }
}

impl Redis {
    /// Runs a script that hands entries to a consumer.
    async fn deliver(&self, script: Script, consumer: &Consumer, arguments: &[&[u8]]) -> Result<Value, StoreError> {
        let source = &consumer.source;
        let keys = [source.stream.as_str(), &consumer.fence_key, &source.retry_key, &source.attempts_key];
        let mut all = vec![source.group.as_bytes(), consumer.name.as_bytes()];
        all.extend_from_slice(arguments);
        self.eval(script, &keys, &all).await
    }
}

fn epoch_start() -> u64 {
    rand::rng().random_range(1..EPOCH_START_MAX)
}

/// The epoch under a fence key; none where there is no such key.
pub(super) fn epoch(value: Value, key: &str) -> Result<Option<Epoch>, StoreError> {
    let Some(bytes) = reply::bytes(value, key)? else { return Ok(None) };
    let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
    number.map(|number| Some(Epoch(number))).ok_or_else(|| StoreError::WrongType(format!("`{key}` is no fence key")))
}

fn taken(answer: Value, consumer: &Consumer) -> Result<Taken, StoreError> {
    let (batch, last, vanished) = handed(answer, consumer)?;
    let next = match last {
        Value::Nil => None,
        last => Some(reply::entry_id(last, &consumer.source.stream)?),
    };
    Ok(Taken { batch, next, vanished })
}

/// Reads `{epoch, …, vanished, {{id, fields, failed attempts}, …}}`; the second part is left to the caller.
fn handed(answer: Value, consumer: &Consumer) -> Result<(Batch, Value, u64), StoreError> {
    let stream = &consumer.source.stream;
    let mut parts = reply::list(answer, stream)?.into_iter();
    let mut next = || parts.next().unwrap_or_default();
    let (epoch_value, second, vanished, entries) = (next(), next(), next(), next());
    let mut events = Vec::new();
    for entry in reply::list(entries, stream)? {
        let mut parts = reply::list(entry, stream)?.into_iter();
        let id = reply::entry_id(parts.next().unwrap_or_default(), stream)?;
        let fields = reply::fields(parts.next().unwrap_or_default(), stream)?;
        let failed = reply::count(parts.next().unwrap_or_default(), stream)?;
        let attempt = u32::try_from(failed).unwrap_or(u32::MAX).saturating_add(1);
        events.push(Delivered { id, fields, attempt });
    }
    let batch = Batch { epoch: epoch(epoch_value, &consumer.fence_key)?, events };
    Ok((batch, second, reply::count(vanished, stream)?))
}
