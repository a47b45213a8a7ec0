//! `sandbar:plugin/stream`.

use super::check;
use super::state::State;
use crate::bindings::sandbar::plugin::stream::{Entry, Group, Host, Retention, StreamInfo};
use crate::bindings::sandbar::plugin::types::{Error, FieldResult};
use sandbar_store::{Bound, Effect, EntryId, StoreError};

/// The most entries that one range answers.
const ENTRIES_MAX: u32 = 10_000;

impl Host for State {
    async fn range(&mut self, name: String, start: String, end: String, count: u32) -> Result<Vec<Entry>, Error> {
        self.entries(&name, &start, &end, count, false).await
    }

    async fn rev_range(&mut self, name: String, end: String, start: String, count: u32) -> Result<Vec<Entry>, Error> {
        self.entries(&name, &start, &end, count, true).await
    }

    async fn length(&mut self, name: String) -> Result<u64, Error> {
        let full = self.readable(&name)?;
        let store = self.store();
        let answer = self.recorder_slot.ask(|| format!("stream.length {full}"), store.length(&full)).await;
        self.answered(answer)
    }

    async fn info(&mut self, name: String) -> Result<Option<StreamInfo>, Error> {
        let full = self.readable(&name)?;
        let store = self.store();
        let answer = self.recorder_slot.ask(|| format!("stream.info {full}"), store.info(&full)).await;
        let Some(info) = self.answered(answer)? else { return Ok(None) };
        let group = |group: sandbar_store::Group| Group {
            name: group.name,
            consumers: group.consumers,
            pending: group.pending,
            lag: group.lag,
            last_delivered: group.last_delivered.to_string(),
        };
        Ok(Some(StreamInfo {
            length: info.length,
            first_id: info.first_id.map(|id| id.to_string()),
            last_id: info.last_id.map(|id| id.to_string()),
            memory_bytes: info.memory_bytes,
            groups: info.groups.into_iter().map(group).collect(),
        }))
    }

    async fn trim(&mut self, name: String, retention: Retention, keep_unread: bool) -> Result<u64, Error> {
        let full = self.writable(&name)?;
        let retention = kept(retention)?;
        let store = self.shared_store(&name)?;
        let live = store.trim(&full, retention, keep_unread);
        let answer = self.recorder_slot.act(|| format!("stream.trim {full}"), live, async |_| Ok(0)).await;
        self.answered(answer)
    }

    fn append(&mut self, name: String, fields: Vec<FieldResult>, retention: Retention) -> Result<(), Error> {
        let full = self.writable(&name)?;
        let (fields, bytes) = self.fields(&name, fields)?;
        let retention = kept(retention)?;
        self.write(Effect::Append { stream: full, fields, retention }, bytes)
    }
}

impl State {
    async fn entries(
        &mut self,
        name: &str,
        start: &str,
        end: &str,
        count: u32,
        reverse: bool,
    ) -> Result<Vec<Entry>, Error> {
        let full = self.readable(name)?;
        let count = check::count(name, count, ENTRIES_MAX)?;
        let (Some(start), Some(end)) = (Bound::start(start)?, Bound::end(end)?) else { return Ok(Vec::new()) };
        let (large, asked) = (self.large(), u64::from(count));
        let store = &large.store;
        let word = if reverse { "rev-range" } else { "range" };
        let question = || format!("stream.{word} {full} {start} {end} {count}");
        let range = store.range(&full, start, end, count, reverse);
        let answer = self.recorder_slot.ask(question, large.read(&full, asked, store.length(&full), range)).await;
        let field = |field: sandbar_store::Field| FieldResult { name: field.name, value: field.value.into() };
        let entry = |entry: sandbar_store::Entry| Entry {
            id: entry.id.to_string(),
            fields: entry.fields.into_iter().map(field).collect(),
        };
        Ok(self.answered(answer)?.into_iter().map(entry).collect())
    }
}

fn kept(retention: Retention) -> Result<sandbar_store::Retention, Error> {
    Ok(match retention {
        Retention::Unlimited => sandbar_store::Retention::Unlimited,
        Retention::About(length) => sandbar_store::Retention::About(length),
        Retention::Exactly(length) => sandbar_store::Retention::Exactly(length),
        Retention::MinId(id) => sandbar_store::Retention::MinId(id.parse::<EntryId>().map_err(StoreError::from)?),
    })
}
