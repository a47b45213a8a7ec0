//! Plugins as loaders of the tiered cache.
//!
//! A load is a call of the plugin's `loader` export. What the plugin writes meanwhile is committed with the load; a
//! write that the store refuses fails the load.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sandbar_store::CommitError;

use crate::bindings::exports::sandbar::plugin::loader;
use crate::call::{FinishedCall, Lineage};
use crate::commit::{CallCommit, Delivery, effects};
use crate::pool::{CallError, Pool};
use crate::rollout::Rollout;
use crate::telemetry::CacheMetrics;
use crate::tiered_cache::{Loaded, Loader, TieredCache};

/// How often a load is run again because a watched key had changed.
const CONFLICTS_MAX: u32 = 5;

/// The versions of a plugin that loads. It is gone with them.
#[derive(Debug)]
struct PluginLoader {
    name: String,
    /// Weak: a version knows the cache, which knows its loaders.
    rollout: Weak<Rollout>,
    metrics: CacheMetrics,
}

/// Lets a plugin load for a cache, whichever of its versions is active, as long as it runs.
pub fn register(cache: &TieredCache, plugin: &str, rollout: &Arc<Rollout>) {
    let (name, rollout, metrics) = (plugin.to_owned(), Arc::downgrade(rollout), cache.metrics().clone());
    cache.register(plugin, Arc::new(PluginLoader { name, rollout, metrics }));
}

#[async_trait]
impl Loader for PluginLoader {
    fn deadline(&self) -> Option<Duration> {
        self.rollout.upgrade().map(|rollout| rollout.active().context().limits.deadline)
    }

    async fn load(&self, keys: &[&str], lineage: Lineage) -> Result<Vec<Loaded>, String> {
        let Some(rollout) = self.rollout.upgrade() else {
            let gone = Loaded::Failed(format!("the plugin `{}` does not run any more", self.name));
            return Ok(vec![gone; keys.len()]);
        };
        let pool = rollout.choose();
        drop(rollout);
        // The value is written for the loader, so the loader needs the grant.
        let policy = &pool.context().policy;
        let denied = keys.iter().map(|key| policy.write(key).err().map(|error| error.to_string()));
        let denied: Vec<Option<String>> = denied.collect();
        let allowed = keys.iter().zip(&denied).filter(|(_, denied)| denied.is_none());
        let allowed: Vec<&str> = allowed.map(|(key, _)| *key).collect();
        let loaded = match allowed.as_slice() {
            [] => Vec::new(),
            // It is not part of a larger load that can be split, so its failure is final.
            [_] => self.call(&pool, &allowed, lineage).await.unwrap_or_else(|error| vec![Loaded::Failed(error)]),
            _ => self.call(&pool, &allowed, lineage).await?,
        };
        let mut loaded = loaded.into_iter();
        let answer = |denied: Option<String>| match denied {
            Some(reason) => Some(Loaded::Failed(format!("the plugin `{}` {reason}", self.name))),
            None => loaded.next(),
        };
        Ok(denied.into_iter().filter_map(answer).collect())
    }

    fn spawn(&self, work: BoxFuture<'static, ()>) {
        let share = self.rollout.upgrade().map(|rollout| rollout.active().context().quota.share().clone());
        tokio::spawn(async move {
            match share {
                Some(share) => _ = share.place(work).await,
                None => work.await,
            }
        });
    }
}

impl PluginLoader {
    /// Calls the plugin, and measures a call whose result is final.
    async fn call(&self, pool: &Pool, keys: &[&str], lineage: Lineage) -> Result<Vec<Loaded>, String> {
        let begun = Instant::now();
        let loaded = load(pool, keys, lineage).await;
        if loaded.is_ok() || keys.len() == 1 {
            self.metrics.loaded(&self.name, begun.elapsed());
        }
        loaded
    }
}

/// Calls the plugin, and commits what it writes.
async fn load(pool: &Pool, keys: &[&str], lineage: Lineage) -> Result<Vec<Loaded>, String> {
    let context = pool.context();
    if !pool.has_loader() {
        return Err(format!("the plugin `{}` does not export a loader", context.plugin));
    }
    let full = keys.iter().map(|key| format!("{}{key}", context.prefix));
    let lineage = Lineage { keys: full.chain(lineage.keys.iter().cloned()).collect(), ..lineage };
    let mut conflicts = 0;
    loop {
        let (loaded, ended) = pool.load(keys, lineage.clone()).await.map_err(|failure| failed(&failure.error))?;
        match commit(pool, ended).await {
            Ok(()) => {
                return Ok(loaded.into_iter().zip(keys).map(|(loaded, key)| checked(pool, key, loaded)).collect());
            }
            Err(Uncommitted::Error(CommitError::Conflict(_))) if conflicts < CONFLICTS_MAX => conflicts += 1,
            Err(Uncommitted::Error(error)) => return Err(format!("the loader's writes were not committed: {error}")),
            // The other writes stand. An error would have each key loaded again alone, which would repeat them.
            Err(Uncommitted::Refused(reason)) => return Ok(vec![Loaded::Failed(reason); keys.len()]),
        }
    }
}

fn failed(error: &CallError) -> String {
    match error {
        CallError::Malformed { answered, asked } => format!("the plugin answered {answered} results for {asked} keys"),
        error => error.to_string(),
    }
}

/// What the plugin answered, within the bound of a value.
fn checked(pool: &Pool, key: &str, loaded: loader::Loaded) -> Loaded {
    let max = pool.context().limits.value_bytes.as_u64();
    match loaded {
        loader::Loaded::Value(value) if u64::try_from(value.len()).unwrap_or(u64::MAX) > max => Loaded::Failed(
            format!("the value for `{key}` has {} bytes; the loader's `limits.value-bytes` allows {max}", value.len()),
        ),
        loader::Loaded::Value(value) => Loaded::Value(value.into()),
        loader::Loaded::Missing => Loaded::Missing,
        loader::Loaded::Failed(reason) => Loaded::Failed(reason),
    }
}

/// Why the writes of a load do not stand as a whole.
enum Uncommitted {
    /// There is no commit.
    Error(CommitError),
    /// The store refused one of them.
    Refused(String),
}

/// Commits what a load has written beside its answer.
async fn commit(pool: &Pool, mut ended: FinishedCall) -> Result<(), Uncommitted> {
    if ended.writes.is_empty() && ended.watched.is_empty() && ended.taken.is_empty() {
        return Ok(());
    }
    let effects = effects(ended.writes);
    let (watched, taken, locks) = (&ended.watched, &mut ended.taken, &ended.locks);
    let commit = CallCommit { effects: &effects, own_effects: 0, watched, taken, locks, delivery: Delivery::None };
    let committed = commit.make(pool.context()).await.map_err(Uncommitted::Error)?;
    match committed.refused.into_iter().next() {
        None => Ok(()),
        Some(refused) => Err(Uncommitted::Refused(refused.to_string())),
    }
}
