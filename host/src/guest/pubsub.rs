//! `sandbar:plugin/pubsub`.

use super::state::State;
use crate::bindings::sandbar::plugin::pubsub::Host;
use crate::bindings::sandbar::plugin::types::Error;
use crate::store::Effect;

impl Host for State {
    async fn subscribers(&mut self, channel: String) -> Result<u64, Error> {
        let full = self.publishable(&channel)?;
        let store = self.store();
        let answer = self.deck.ask(|| format!("pubsub.subscribers {full}"), store.subscribers(&full)).await;
        self.answered(answer)
    }

    fn publish(&mut self, channel: String, payload: Vec<u8>) -> Result<(), Error> {
        let full = self.publishable(&channel)?;
        let payload = self.value(&channel, payload)?;
        let bytes = payload.len();
        self.write(Effect::Publish { channel: full, payload }, bytes)
    }
}
