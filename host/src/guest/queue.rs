//! `sandbar:plugin/queue`.

use super::state::State;
use crate::bindings::sandbar::plugin::queue::{Host, Job, Lengths, PushOptions};
use crate::bindings::sandbar::plugin::types::Error;

impl Host for State {
    async fn length(&mut self, name: String) -> Result<Lengths, Error> {
        self.readable(&name)?;
        Err(Error::Internal("there are no queues yet".to_owned()))
    }

    async fn peek(&mut self, name: String, _count: u32) -> Result<Vec<Job>, Error> {
        self.readable(&name)?;
        Err(Error::Internal("there are no queues yet".to_owned()))
    }

    async fn take(&mut self, name: String, _count: u32) -> Result<Vec<Job>, Error> {
        self.writable(&name)?;
        Err(Error::Internal("there are no queues yet".to_owned()))
    }

    fn push(&mut self, name: String, _payload: Vec<u8>, _options: PushOptions) -> Result<(), Error> {
        self.writable(&name)?;
        Err(Error::Internal("there are no queues yet".to_owned()))
    }
}
