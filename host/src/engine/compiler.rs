//! The threads that compile components.
//!
//! They give way to all others: a version is loaded beside one that handles events, which are not to wait for it.

use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuilder};

/// How much they give way, from 0 (not at all) to 19.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 15;

/// The threads that compile; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Compiler(Option<Arc<ThreadPool>>);

impl Compiler {
    /// Starts a thread for each core. Where that is not possible, whoever asks compiles.
    pub(super) fn start() -> Self {
        let threads = ThreadPoolBuilder::new().thread_name(|_| "compiler".to_owned()).start_handler(|_| give_way());
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

/// Lets all other threads of the machine go before this one.
#[cfg(target_os = "linux")]
fn give_way() {
    // Linux knows a priority of each thread. Where it is not allowed, compiling is only less polite.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "the threads that compile run like all others");
    }
}

#[cfg(not(target_os = "linux"))]
fn give_way() {}
