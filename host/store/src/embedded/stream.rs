//! Reads of streams, and trimming.

use async_trait::async_trait;

use super::Embedded;
use super::log::Log;
use crate::{Entry, EntryId, Retention, StoreError, Stream, StreamInfo};

#[async_trait]
impl Stream for Embedded {
    async fn range(
        &self,
        stream: &str,
        start: EntryId,
        end: EntryId,
        count: u32,
        reverse: bool,
    ) -> Result<Vec<Entry>, StoreError> {
        let state = self.state();
        let log = state.keys.get::<Log>(stream)?;
        Ok(log.map(|log| log.range(start, end, count as usize, reverse)).unwrap_or_default())
    }

    async fn length(&self, stream: &str) -> Result<u64, StoreError> {
        Ok(self.state().keys.get::<Log>(stream)?.map_or(0, Log::len))
    }

    async fn info(&self, stream: &str) -> Result<Option<StreamInfo>, StoreError> {
        Ok(self.state().keys.get::<Log>(stream)?.map(Log::info))
    }

    async fn trim(&self, stream: &str, retention: Retention, keep_unread: bool) -> Result<u64, StoreError> {
        if retention == Retention::Unlimited {
            return Err(StoreError::Invalid(format!("trimming `{stream}` to unlimited would remove nothing")));
        }
        let removed = self.state().keys.update_existing(stream, |log: &mut Log| {
            let floor = if keep_unread { log.unread_from() } else { EntryId::MAX };
            Ok(log.retain(retention, floor))
        })?;
        Ok(removed.unwrap_or(0))
    }
}
