//! The loaders that are asked for what is missing, and their queues.
//!
//! Each loads up to [`LOADS_MAX`] batches at the same time; keys that come meanwhile wait, and become one batch of up
//! to [`BATCH_MAX`]. A load that needs other loads has a queue of its own for them, so that it never waits behind
//! itself.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::call::Lineage;

/// The most keys that a loader is given at once.
pub const BATCH_MAX: usize = 100;
/// How many batches a loader loads at the same time, in each queue.
pub const LOADS_MAX: usize = 8;
/// How deep loads may nest: a load that fetches what has to be loaded, and so on.
pub const DEPTH_MAX: usize = 4;
/// The most keys that wait for a loader, in each queue.
pub const WAITING_MAX: usize = 10_000;
/// How long a load may take where it is not known who loads.
const DEADLINE_UNKNOWN: Duration = Duration::from_secs(5);

/// The source of the tiered cache: asked for what neither memory nor the store has.
#[async_trait]
pub trait Loader: std::fmt::Debug + Send + Sync {
    /// How long one load may take; none where the loader is gone.
    fn deadline(&self) -> Option<Duration>;

    /// Loads keys, and answers one result for each of them, in order. `lineage` has the keys that wait for this load.
    /// An error concerns all of the keys; each is then loaded alone.
    async fn load(&self, keys: &[&str], lineage: Lineage) -> Result<Vec<Loaded>, String>;

    /// Runs the work of loading, within the share of the CPU that the loader has.
    fn spawn(&self, work: BoxFuture<'static, ()>);
}

/// What a source has for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// Its value.
    Value(Bytes),
    /// It has none.
    Missing,
    /// It could not be asked.
    Failed(String),
}

/// The loaders of a tenant on this host, by the name of their plugin.
#[derive(Debug, Default)]
pub(super) struct Loaders {
    by_name: Mutex<HashMap<String, Arc<LoadQueues>>>,
}

/// A loader, with the keys that wait for it.
#[derive(Debug)]
struct LoadQueues {
    name: String,
    loader: Arc<dyn Loader>,
    /// One for each depth of nesting.
    by_depth: Vec<Mutex<DepthQueue>>,
}

/// Keys that wait.
#[derive(Debug, Default)]
struct DepthQueue {
    jobs: VecDeque<Job>,
    running: usize,
}

/// A key to be loaded.
#[derive(Debug)]
struct Job {
    /// As the plugin names it.
    key: String,
    lineage: Lineage,
    /// Not together with others: it was in a batch that failed.
    alone: bool,
    done: oneshot::Sender<Loaded>,
}

impl Loaders {
    /// A loader that may be asked from now on, until it is gone.
    pub(super) fn register(&self, name: &str, loader: Arc<dyn Loader>) {
        let mut by_name = self.by_name.lock();
        by_name.retain(|_, queues| queues.loader.deadline().is_some());
        let by_depth = (0..DEPTH_MAX).map(|_| Mutex::default()).collect();
        by_name.insert(name.to_owned(), Arc::new(LoadQueues { name: name.to_owned(), loader, by_depth }));
    }

    /// How long one call of a loader may take.
    pub(super) fn deadline(&self, name: Option<&str>) -> Duration {
        let queues = name.and_then(|name| self.by_name.lock().get(name).cloned());
        queues.and_then(|queues| queues.loader.deadline()).unwrap_or(DEADLINE_UNKNOWN)
    }

    /// Has a key loaded. `lineage` is that of the caller.
    pub(super) fn submit(&self, name: &str, key: &str, lineage: &Lineage) -> oneshot::Receiver<Loaded> {
        let (done, answer) = oneshot::channel();
        let loader = self.by_name.lock().get(name).cloned();
        let failed = match loader {
            None => format!("the plugin `{name}`, which is to load it, does not run on this host"),
            Some(loader) => {
                let depth = usize::try_from(lineage.depth).unwrap_or(usize::MAX);
                let job = Job { key: key.to_owned(), lineage: lineage.clone(), alone: false, done };
                match loader.queue(depth, job) {
                    Ok(()) => return answer,
                    Err((reason, job)) => {
                        job.answer(Loaded::Failed(reason));
                        return answer;
                    }
                }
            }
        };
        // The caller may be gone.
        let _ = done.send(Loaded::Failed(failed));
        answer
    }
}

impl Job {
    fn answer(self, source: Loaded) {
        // The waiter may be gone.
        let _ = self.done.send(source);
    }
}

impl LoadQueues {
    fn queue(self: &Arc<Self>, depth: usize, job: Job) -> Result<(), (String, Job)> {
        let Some(queue) = self.by_depth.get(depth) else {
            return Err((format!("loads nest deeper than {DEPTH_MAX}"), job));
        };
        let mut queue = queue.lock();
        if queue.jobs.len() >= WAITING_MAX {
            return Err((format!("{WAITING_MAX} keys wait for the plugin `{}` already", self.name), job));
        }
        queue.jobs.push_back(job);
        if queue.running < LOADS_MAX {
            queue.running += 1;
            self.loader.spawn(Box::pin(self.clone().work(depth)));
        }
        Ok(())
    }

    /// Loads until nothing waits.
    async fn work(self: Arc<Self>, depth: usize) {
        let mut running = Running { loader: &self, depth, counted: true };
        while let Some(jobs) = running.next() {
            self.load(depth, jobs).await;
        }
    }

    async fn load(&self, depth: usize, jobs: Vec<Job>) {
        let keys: Vec<&str> = jobs.iter().map(|job| job.key.as_str()).collect();
        match self.loader.load(&keys, lineage(&jobs)).await {
            Ok(loaded) => jobs.into_iter().zip(loaded).for_each(|(job, loaded)| job.answer(loaded)),
            Err(error) if jobs.len() > 1 => {
                let keys = jobs.len();
                tracing::debug!(plugin = self.name, error, keys, "a batch of loads failed: each key is loaded alone");
                if let Some(queue) = self.by_depth.get(depth) {
                    queue.lock().jobs.extend(jobs.into_iter().map(|job| Job { alone: true, ..job }));
                }
            }
            Err(error) => jobs.into_iter().for_each(|job| job.answer(Loaded::Failed(error.clone()))),
        }
    }
}

/// What waits for a batch of loads.
fn lineage(jobs: &[Job]) -> Lineage {
    let waiting = jobs.iter().flat_map(|job| job.lineage.keys.iter().cloned());
    let depth = jobs.iter().map(|job| job.lineage.depth).max().unwrap_or_default();
    Lineage { keys: waiting.collect(), depth: depth.saturating_add(1) }
}

/// Counts a task that loads, also where it is dropped.
struct Running<'a> {
    loader: &'a LoadQueues,
    depth: usize,
    counted: bool,
}

impl Running<'_> {
    /// The next batch. None ends the task, in the same step in which it is seen that nothing waits.
    fn next(&mut self) -> Option<Vec<Job>> {
        let mut queue = self.loader.by_depth.get(self.depth)?.lock();
        let mut jobs = Vec::new();
        while let Some(job) = queue.jobs.pop_front() {
            if job.done.is_closed() {
                continue;
            }
            if job.alone && !jobs.is_empty() {
                queue.jobs.push_front(job);
                break;
            }
            let alone = job.alone;
            jobs.push(job);
            if alone || jobs.len() >= BATCH_MAX {
                break;
            }
        }
        if jobs.is_empty() {
            queue.running = queue.running.saturating_sub(1);
            self.counted = false;
            return None;
        }
        Some(jobs)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.counted
            && let Some(queue) = self.loader.by_depth.get(self.depth)
        {
            let mut queue = queue.lock();
            queue.running = queue.running.saturating_sub(1);
        }
    }
}
