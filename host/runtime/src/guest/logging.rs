//! `wasi:logging`.

use super::state::State;
use crate::bindings::wasi::logging::logging::{Host, Level};

impl Host for State {
    fn log(&mut self, level: Level, context: String, message: String) {
        if self.counted().is_err() {
            return;
        }
        self.output.log(level, &context, &message);
    }
}
