//! The threads that compile components.
//!
//! They have a low priority, because a version is loaded while another one handles events.

use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::scheduling::threads::lower_priority;

/// How low their priority is, from 0 (normal) to 19.
const NICENESS: i32 = 15;

/// The threads that compile; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Compiler(Option<Arc<ThreadPool>>);

impl Compiler {
    /// Starts a thread for each core. Where that is not possible, the caller compiles.
    pub(super) fn start() -> Self {
        let threads =
            ThreadPoolBuilder::new().thread_name(|_| "compiler".to_owned()).start_handler(|_| lower_priority(NICENESS));
        match threads.build() {
            Ok(threads) => Self(Some(Arc::new(threads))),
            Err(error) => {
                tracing::warn!(%error, "there are no threads that compile: compiling may hold up events");
                Self(None)
            }
        }
    }

    /// Runs something there, with all that it runs in parallel, and waits for it.
    pub(super) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.0 {
            Some(threads) => threads.install(work),
            None => work(),
        }
    }
}
