//! The threads of a host: foreground threads, which are those of its runtime, and background threads, which run only
//! while no other thread of the machine wants their core.
//!
//! [`crate::scheduling::fair`] decides which tenant runs where. A thread that becomes runnable in the foreground, or
//! in the store's process on the same machine, preempts a background thread at once. Without priorities of the system
//! it would wait for the end of the slice of a thread that loops, some milliseconds each time. Knows no tenants.

use std::sync::OnceLock;

use sandbar_core::priority::Priority;
use tokio::runtime::{Builder, Handle, Runtime};

/// The threads of both.
#[derive(Debug)]
pub struct PriorityThreads {
    foreground: Handle,
    /// Made for the first background call; none where the system does not allow more threads.
    background: OnceLock<Option<Background>>,
}

/// Ends its threads when it is dropped, without waiting for them.
#[derive(Debug)]
struct Background(Option<Runtime>);

impl PriorityThreads {
    /// Those of the runtime that the caller runs in; none outside of one.
    pub fn of_this_runtime() -> Option<Self> {
        Some(Self { foreground: Handle::try_current().ok()?, background: OnceLock::new() })
    }

    /// Where to run something.
    pub fn handle(&self, priority: Priority) -> &Handle {
        let background = || self.background.get_or_init(Background::start).as_ref()?.0.as_ref().map(Runtime::handle);
        match priority {
            Priority::Foreground => &self.foreground,
            Priority::Background => background().unwrap_or(&self.foreground),
        }
    }
}

impl Background {
    fn start() -> Option<Self> {
        let begin = || {
            Priority::Background.set_current();
            run_when_idle();
        };
        match Builder::new_multi_thread()
            .worker_threads(background_threads())
            .thread_name("behind")
            .on_thread_start(begin)
            .enable_all()
            .build()
        {
            Ok(runtime) => Some(Self(Some(runtime))),
            Err(error) => {
                tracing::warn!(%error, "no background threads: a tenant that uses much CPU time may delay the others");
                None
            }
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// How many background threads there are: one less than there are cores. Even a background thread has to be preempted
/// first, so one core stays free of them.
pub fn background_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1))
}

/// Lets this thread run only while no other thread wants its core.
///
/// It is a scheduling policy (`SCHED_IDLE`), not niceness: a core that runs only such threads counts as idle, so
/// other threads are woken there and do not queue on another core. See sched(7).
#[cfg(target_os = "linux")]
fn run_when_idle() {
    use thread_priority::unix::set_thread_priority_and_policy;
    use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, thread_native_id};

    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy) {
        tracing::warn!(?error, "background threads run at normal priority");
    }
}

/// Lowers the priority of this thread: not at all with 0, as far as possible with 19.
#[cfg(target_os = "linux")]
pub fn lower_priority(niceness: i32) {
    // Linux knows a priority of each thread. Where lowering it is not allowed, the thread keeps its priority.
    if let Err(error) = rustix::process::setpriority_process(None, niceness) {
        tracing::debug!(%error, "a thread runs at normal priority");
    }
}

/// Other systems have their own ways, which are not used yet.
#[cfg(not(target_os = "linux"))]
fn run_when_idle() {}

/// Other systems know priorities of processes alone.
#[cfg(not(target_os = "linux"))]
pub fn lower_priority(_niceness: i32) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_priority_has_its_own_threads() {
        let threads = PriorityThreads::of_this_runtime().unwrap();
        assert_eq!(Priority::current(), Priority::Foreground);
        assert_eq!(
            threads.handle(Priority::Foreground).spawn(async { Priority::current() }).await.unwrap(),
            Priority::Foreground
        );
        assert_eq!(
            threads.handle(Priority::Background).spawn(async { Priority::current() }).await.unwrap(),
            Priority::Background
        );
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn threads_behind_run_when_nobody_else_does() {
        use thread_priority::{NormalThreadSchedulePolicy, ThreadSchedulePolicy, thread_schedule_policy};

        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        let threads = PriorityThreads::of_this_runtime().unwrap();
        let background =
            threads.handle(Priority::Background).spawn(async { thread_schedule_policy().unwrap() }).await.unwrap();
        assert_eq!(background, idle);
        assert_ne!(thread_schedule_policy().unwrap(), idle, "the caller's own thread does not");
    }
}
