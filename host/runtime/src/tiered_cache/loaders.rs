//! The plugins that load what is missing, and their queues.
//!
//! Each loads up to [`LOADS_MAX`] batches at the same time; keys that come meanwhile wait, and become one batch of up to [`BATCH_MAX`].
//! A load that needs other loads has a queue of its own for them, so that it never waits behind itself.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::bindings::exports::sandbar::plugin::loader::Loaded;
use crate::call::{FinishedCall, Lineage};
use crate::pool::{CallError, Pool};
use crate::rollout::Rollout;
use crate::telemetry::CacheMetrics;
use sandbar_store::combine::combine;
use sandbar_store::held_lock::release_all;
use sandbar_store::{Commit, CommitError, Effect, LeaseSettlement};

/// The most keys that a loader is given at once.
pub const BATCH_MAX: usize = 100;
/// How many batches a loader loads at the same time, in each queue.
pub const LOADS_MAX: usize = 8;
/// How deep loads may nest: a load that fetches what has to be loaded, and so on.
pub const DEPTH_MAX: usize = 4;
/// The most keys that wait for a loader, in each queue.
pub const WAITING_MAX: usize = 10_000;
/// How often a load is run again because a value that it relied on had changed.
const CONFLICTS_MAX: u32 = 5;
/// How long a load may take where it is not known who loads.
const DEADLINE_UNKNOWN: Duration = Duration::from_secs(5);

/// What a source says of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// Its value.
    Value(Bytes),
    /// It has none.
    Missing,
    /// It could not be asked.
    Failed(String),
}

/// All loaders of a host, by the name of their plugin.
#[derive(Debug)]
pub(super) struct Loaders {
    by_name: Mutex<HashMap<String, Arc<Loader>>>,
    metrics: CacheMetrics,
}

/// One loader.
#[derive(Debug)]
struct Loader {
    name: String,
    /// Its instances. Weak: they know the tiered_cache, which know the loaders.
    active: Weak<Rollout>,
    by_depth: Vec<Mutex<DepthQueue>>,
    metrics: CacheMetrics,
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
    done: oneshot::Sender<Source>,
}

impl Loaders {
    pub(super) fn new(metrics: CacheMetrics) -> Self {
        Self { by_name: Mutex::default(), metrics }
    }

    /// A plugin that may be asked to load from now on, as long as its instances are there.
    pub(super) fn register(&self, name: &str, active: &Arc<Rollout>) {
        let mut by_name = self.by_name.lock();
        by_name.retain(|_, loader| loader.active.strong_count() > 0);
        let loader = Loader {
            name: name.to_owned(),
            active: Arc::downgrade(active),
            by_depth: (0..DEPTH_MAX).map(|_| Mutex::default()).collect(),
            metrics: self.metrics.clone(),
        };
        by_name.insert(name.to_owned(), Arc::new(loader));
    }

    /// How long one call of a loader may take.
    pub(super) fn deadline(&self, name: Option<&str>) -> Duration {
        let loader = name.and_then(|name| self.by_name.lock().get(name).cloned());
        let pool = loader.and_then(|loader| loader.active.upgrade());
        pool.map_or(DEADLINE_UNKNOWN, |pool| pool.active().context().limits.deadline)
    }

    /// Has a key loaded. `lineage` is that of whoever fetches it.
    pub(super) fn submit(&self, name: &str, key: &str, lineage: &Lineage) -> oneshot::Receiver<Source> {
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
                        job.answer(Source::Failed(reason));
                        return answer;
                    }
                }
            }
        };
        // Whoever asked may be gone.
        let _ = done.send(Source::Failed(failed));
        answer
    }
}

impl Job {
    fn answer(self, source: Source) {
        // Whoever waited may be gone.
        let _ = self.done.send(source);
    }
}

impl Loader {
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
            let active = self.active.upgrade().map(|rollout| rollout.active());
            let share = active.map(|pool| pool.context().quota.share().clone());
            let work = self.clone().work(depth);
            tokio::spawn(async move {
                match share {
                    Some(share) => _ = share.place(work).await,
                    None => work.await,
                }
            });
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
        let Some(active) = self.active.upgrade() else {
            let gone = Source::Failed(format!("the plugin `{}` does not run any more", self.name));
            jobs.into_iter().for_each(|job| job.answer(gone.clone()));
            return;
        };
        let pool = active.choose();
        drop(active);
        // The value is written on scope of the loader, so it needs the grant.
        let policy = &pool.context().policy;
        let (jobs, denied): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(|job| policy.write(&job.key).is_ok());
        for job in denied {
            let reason = policy.write(&job.key).err().map(|denied| denied.to_string()).unwrap_or_default();
            job.answer(Source::Failed(format!("the plugin `{}` {reason}", self.name)));
        }
        if jobs.is_empty() {
            return;
        }
        let begun = Instant::now();
        match call(&pool, &jobs).await {
            Ok(sources) => {
                self.metrics.loaded(&self.name, begun.elapsed());
                jobs.into_iter().zip(sources).for_each(|(job, source)| job.answer(source));
            }
            Err(error) if jobs.len() > 1 => {
                tracing::debug!(
                    plugin = self.name,
                    error,
                    keys = jobs.len(),
                    "a batch of loads failed: each is run alone"
                );
                if let Some(queue) = self.by_depth.get(depth) {
                    queue.lock().jobs.extend(jobs.into_iter().map(|job| Job { alone: true, ..job }));
                }
            }
            Err(error) => {
                self.metrics.loaded(&self.name, begun.elapsed());
                jobs.into_iter().for_each(|job| job.answer(Source::Failed(error.clone())));
            }
        }
    }
}

/// Counts a task that loads, also where it is dropped.
struct Running<'a> {
    loader: &'a Loader,
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

/// Calls the plugin, and commits what it writes.
async fn call(pool: &Pool, jobs: &[Job]) -> Result<Vec<Source>, String> {
    let context = pool.context();
    if !pool.has_loader() {
        return Err(format!("the plugin `{}` does not export a loader", context.plugin));
    }
    let keys: Vec<&str> = jobs.iter().map(|job| job.key.as_str()).collect();
    let full = keys.iter().map(|key| format!("{}{key}", context.prefix));
    let waiting = jobs.iter().flat_map(|job| job.lineage.keys.iter().cloned());
    let depth = jobs.iter().map(|job| job.lineage.depth).max().unwrap_or_default();
    let lineage = Lineage { keys: full.chain(waiting).collect(), depth: depth.saturating_add(1) };
    let mut conflicts = 0;
    loop {
        let (loaded, ended) = pool.load(&keys, lineage.clone()).await.map_err(|(error, _)| failure(&error))?;
        match commit(pool, ended).await {
            Ok(()) => {
                return Ok(loaded.into_iter().zip(&keys).map(|(loaded, key)| source(pool, key, loaded)).collect());
            }
            Err(CommitError::Conflict(_)) if conflicts < CONFLICTS_MAX => conflicts += 1,
            Err(error) => return Err(format!("the loader's writes were not committed: {error}")),
        }
    }
}

fn failure(error: &CallError) -> String {
    match error {
        CallError::Malformed { answered, asked } => format!("the plugin answered {answered} results for {asked} keys"),
        error => error.to_string(),
    }
}

fn source(pool: &Pool, key: &str, loaded: Loaded) -> Source {
    let max = pool.context().limits.value_bytes.as_u64();
    match loaded {
        Loaded::Value(value) if u64::try_from(value.len()).unwrap_or(u64::MAX) > max => Source::Failed(format!(
            "the value for `{key}` has {} bytes; the loader's `limits.value-bytes` allows {max}",
            value.len()
        )),
        Loaded::Value(value) => Source::Value(value.into()),
        Loaded::Missing => Source::Missing,
        Loaded::Failed(reason) => Source::Failed(reason),
    }
}

/// Commits what a load has written beside its answer.
async fn commit(pool: &Pool, ended: FinishedCall) -> Result<(), CommitError> {
    if ended.writes.is_empty() && ended.watched.is_empty() && ended.taken.is_empty() {
        return Ok(());
    }
    let mut taken = ended.taken;
    let leases: Vec<LeaseSettlement> = taken.settlements().collect();
    let effects: Vec<Effect> = combine(ended.writes).into_iter().map(|combined| combined.effect).collect();
    let commit = Commit { leases: &leases, ..Commit::plain(&effects, &ended.watched) };
    let turn = pool.context().quota.commit(effects.len()).await;
    let committed = pool.context().store.commit(commit).await;
    drop(turn);
    release_all(&ended.locks).await;
    let committed = committed?;
    taken.settled();
    for refusal in committed.refused {
        let (plugin, name) = (&pool.context().plugin, effects.get(refusal.effect).map_or("a write", Effect::name));
        tracing::warn!(plugin, error = refusal.error, "{name} of a load was refused; its other writes stand");
    }
    Ok(())
}
