//! The two priorities at which a host runs the code of plugins.
//!
//! A tenant that uses much CPU time is demoted to the background; the runtime decides when. The store reads the
//! current priority to choose a connection.

use std::cell::Cell;

thread_local! {
    /// The priority of what this thread runs.
    static CURRENT: Cell<Priority> = const { Cell::new(Priority::Foreground) };
}

/// The priority of a thread, and of the work that it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// The threads of the host's own runtime, and any others.
    Foreground,
    /// Threads that run only while no other thread of the machine wants their core.
    Background,
}

impl Priority {
    /// The priority of the calling thread.
    pub fn current() -> Self {
        CURRENT.get()
    }

    /// Marks the calling thread. Only the code that starts background threads calls this.
    pub fn set_current(self) {
        CURRENT.set(self);
    }
}
