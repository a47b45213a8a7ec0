//! `sandbar:plugin/pubsub`.

use super::state::State;
use crate::bindings::sandbar::plugin::pubsub::Host;
use crate::bindings::sandbar::plugin::types::Error;
use crate::store::Effect;

impl Host for State {
    async fn subscribers(&mut self, channel: String) -> Result<u64, Error> {
        self.identity.policy.publish(&channel)?;
        let (store, full) = (self.store(), self.prefixed(&channel));
        let answer = self.deck.ask(|| format!("pubsub.subscribers {full}"), store.subscribers(&full)).await;
        self.answered(answer)
    }

    fn publish(&mut self, channel: String, payload: Vec<u8>) -> Result<(), Error> {
        self.identity.policy.publish(&channel)?;
        let payload = self.value(&channel, payload)?;
        let bytes = payload.len();
        let channel = self.prefixed(&channel);
        self.write(Effect::Publish { channel, payload }, bytes)
    }
}
