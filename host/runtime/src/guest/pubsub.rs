//! `sandbar:plugin/pubsub`.

use super::state::State;
use crate::bindings::sandbar::plugin::pubsub::Host;
use crate::bindings::sandbar::plugin::types::Error;
use sandbar_store::Effect;

impl Host for State {
    async fn subscribers(&mut self, channel: String) -> Result<u64, Error> {
        self.may_publish(&channel)?;
        let (full, store) = (self.full(channel), self.store());
        let answer = self.recorder_slot.ask(|| format!("pubsub.subscribers {full}"), store.subscribers(&full)).await;
        self.answered(answer)
    }

    fn publish(&mut self, channel: String, payload: Vec<u8>) -> Result<(), Error> {
        self.may_publish(&channel)?;
        let payload = self.value(&channel, payload)?;
        let bytes = payload.len();
        self.write(Effect::Publish { channel: self.full(channel), payload }, bytes)
    }
}
