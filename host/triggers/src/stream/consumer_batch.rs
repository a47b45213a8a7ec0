//! What one read of a stream came to, as the origin of a batch.

use std::sync::Arc;

use super::StreamContext;
use super::in_flight::InFlightBatch;
use crate::batch::{Common, Decision, Fields, Origin, Settled};
use sandbar_core::manifest::Guarantee;
use sandbar_runtime::bindings::exports::sandbar::plugin::handler;
use sandbar_runtime::bindings::sandbar::plugin::types::FieldParam;
use sandbar_runtime::call::CommitScope;
use sandbar_store::dead_letter;
use sandbar_store::{Consumer, DeadLetter, Delivered, Epoch, Field};

/// Entries that were read in one epoch.
#[derive(Debug)]
pub(super) struct ConsumerBatch {
    pub(super) context: Arc<StreamContext>,
    pub(super) epoch: Epoch,
    pub(super) in_flight: InFlightBatch,
}

impl Origin for ConsumerBatch {
    type Event = Delivered;

    fn common(&self) -> &Common {
        &self.context.common
    }

    fn scope(&self) -> CommitScope {
        CommitScope::Consumer(self.context.consumer.clone(), self.epoch)
    }

    fn consumer(&self) -> Option<(&Consumer, Epoch)> {
        Some((&self.context.consumer, self.epoch))
    }

    fn is_atomic(&self) -> bool {
        self.context.trigger.delivery == Guarantee::ExactlyOnce
    }

    fn id(event: &Delivered) -> String {
        event.id.to_string()
    }

    fn attempt(event: &Delivered) -> u32 {
        event.attempt
    }

    fn time_ms(event: &Delivered) -> u64 {
        event.id.ms
    }

    fn fields(event: &Delivered) -> Fields<'_> {
        event.fields.iter().map(|field| FieldParam { name: &field.name, value: &field.value }).collect()
    }

    fn content<'a>(_: &'a Delivered, fields: &'a [FieldParam<'a>]) -> handler::Content<'a> {
        handler::Content::Fields(fields)
    }

    fn remains(event: &Delivered) -> Vec<Field> {
        dead_letter::own(&event.fields)
    }

    fn settle<'a>(&self, decided: impl Iterator<Item = (&'a Delivered, Decision)>) -> Settled {
        let mut settled = Settled::default();
        let settlement = &mut settled.settlement;
        for (event, decision) in decided {
            let is_settled = !matches!(decision, Decision::Retry(_));
            match decision {
                Decision::Done => settlement.done.push(event.id),
                Decision::Retry(delay_ms) => settlement.retry.push((event.id, delay_ms)),
                Decision::Dead(fields) => settlement.dead.push(DeadLetter { id: event.id, fields }),
            }
            if is_settled && event.attempt > 1 {
                settlement.forget.push(event.id);
            }
        }
        settled
    }

    fn settled(&self, events: &[Delivered]) {
        let ids: Vec<_> = events.iter().map(|event| event.id).collect();
        self.in_flight.settled(&ids);
    }
}
