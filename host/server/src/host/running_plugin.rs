//! One plugin that runs: its active instances and the workers of its triggers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{HostError, Tenant, settings};
use sandbar_core::config::TenantConfig;
use sandbar_core::grants::Policy;
use sandbar_core::manifest::{Manifest, OnOutage, StreamTrigger, Trigger};
use sandbar_runtime::context::PluginContext;
use sandbar_runtime::plugin::Version;
use sandbar_runtime::plugin_loader;
use sandbar_runtime::pool::Pool;
use sandbar_runtime::rollout::Rollout;
use sandbar_runtime::telemetry::PluginMetrics;
use sandbar_store::{Consumer, Source};
use sandbar_triggers::channel;
use sandbar_triggers::http::Service;
use sandbar_triggers::stream::{StreamContext, Worker, WorkerEnd};
use sandbar_triggers::{queue, schedule};

/// A plugin that runs. Only one task at a time changes it: the one that holds the change lock of its
/// [`super::plugin_slot::PluginSlot`].
#[derive(Debug)]
pub(super) struct RunningPlugin {
    rollout: Arc<Rollout>,
    metrics: PluginMetrics,
    workers: Mutex<Vec<Task>>,
    /// Some triggers are being restarted.
    restarting: AtomicBool,
    /// Batches that triggers which were replaced had to drop.
    dropped: AtomicUsize,
    /// It does not run any more.
    gone: CancellationToken,
}

/// What is known of a version that is put in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VersionOrigin {
    /// Nothing yet: it is on probation.
    New,
    /// It has run before and is active again.
    Known,
}

/// The worker of one trigger.
#[derive(Debug)]
struct Task {
    trigger: Trigger,
    stop: CancellationToken,
    ready: Arc<AtomicBool>,
    worker: JoinHandle<WorkerEnd>,
}

/// The instances of a version, one of them warm.
pub(super) async fn pool(tenant: &Tenant, manifest: &Manifest, version: Version) -> Result<Pool, HostError> {
    let Tenant { base, config, .. } = tenant;
    let limits = config.quota.bound(&manifest.limits);
    let settings = settings::read(base, config, manifest).await?;
    let context = PluginContext {
        tenant: config.name.clone(),
        prefix: config.prefix.clone(),
        host: base.name.clone(),
        plugin: manifest.name.clone(),
        version: version.digest.to_string(),
        policy: Policy::new(manifest.grants.clone(), config.grants.for_calls())
            .with_private(config.http_private.clone()),
        limits: limits.clone(),
        protocol: base.protocol,
        quota: tenant.quota.plugin(&manifest.name, &limits),
        health: manifest.health.clone(),
        config: settings,
        store: tenant.store.clone(),
        outbound: tenant.outbound.clone(),
        outage: (manifest.on_outage == OnOutage::Fallback).then(|| tenant.outage()),
        tiered_cache: tenant.tiered_cache.clone(),
        loader: manifest.cache.loader.clone().or(version.has_loader().then(|| manifest.name.clone())),
        seed: None,
    };
    let pool = Pool::new(Arc::new(context), version);
    let plugin = || manifest.name.clone();
    pool.warm().await.map_err(|source| HostError::Start { plugin: plugin(), source })?;
    Ok(pool)
}

impl RunningPlugin {
    /// Starts the triggers of a plugin.
    pub(super) fn start(tenant: &Tenant, manifest: &Manifest, metrics: PluginMetrics, pool: Pool) -> Self {
        let rollout = Arc::new(Rollout::new(pool));
        plugin_loader::register(&tenant.tiered_cache, &manifest.name, &rollout);
        let workers = Mutex::new(work(tenant, &manifest.name, &manifest.triggers, &rollout, &metrics));
        let (restarting, dropped) = (AtomicBool::new(false), AtomicUsize::new(0));
        Self { rollout, metrics, workers, restarting, dropped, gone: tenant.base.stop.child_token() }
    }

    /// The versions that take calls.
    pub(super) fn rollout(&self) -> &Arc<Rollout> {
        &self.rollout
    }

    /// Its numbers.
    pub(super) fn metrics(&self) -> &PluginMetrics {
        &self.metrics
    }

    /// Is cancelled when it does not run any more.
    pub(super) fn gone(&self) -> &CancellationToken {
        &self.gone
    }

    /// Whether all of its triggers run.
    pub(super) fn is_ready(&self) -> bool {
        let restarting = self.restarting.load(Ordering::Relaxed);
        !restarting && self.workers.lock().iter().all(|task| task.ready.load(Ordering::Relaxed))
    }

    /// Puts another version in place. Batches in flight finish on the old one. Triggers that have changed are
    /// restarted, when their batches are done; the others go on reading.
    pub(super) async fn replace(&self, tenant: &Tenant, manifest: &Manifest, pool: Pool, origin: VersionOrigin) {
        match origin {
            VersionOrigin::New => self.rollout.replace(pool),
            VersionOrigin::Known => self.rollout.put_back(pool),
        };
        let (mut wanted, mut kept, mut changed) = (manifest.triggers.clone(), Vec::new(), Vec::new());
        for task in std::mem::take(&mut *self.workers.lock()) {
            match wanted.iter().position(|trigger| *trigger == task.trigger) {
                Some(at) => {
                    wanted.remove(at);
                    kept.push(task);
                }
                None => changed.push(task),
            }
        }
        if !changed.is_empty() {
            self.restarting.store(true, Ordering::Relaxed);
        }
        let begin = |triggers: &[Trigger]| work(tenant, &manifest.name, triggers, &self.rollout, &self.metrics);
        // Requests cannot wait until the old ones are answered: they go to the new triggers from now on.
        let (http, others): (Vec<Trigger>, Vec<Trigger>) =
            wanted.into_iter().partition(|trigger| matches!(trigger, Trigger::Http(_)));
        kept.extend(begin(&http));
        self.workers.lock().extend(kept);
        self.dropped.fetch_add(stop(changed).await, Ordering::Relaxed);
        self.workers.lock().extend(begin(&others));
        self.restarting.store(false, Ordering::Relaxed);
    }

    /// Stops the triggers, waits until they have ended, and answers how many batches were dropped.
    pub(super) async fn drained(&self) -> usize {
        self.gone.cancel();
        let workers = std::mem::take(&mut *self.workers.lock());
        self.dropped.load(Ordering::Relaxed) + stop(workers).await
    }
}

async fn stop(workers: Vec<Task>) -> usize {
    workers.iter().for_each(|task| task.stop.cancel());
    let mut dropped = 0;
    for task in workers {
        match task.worker.await {
            Ok(WorkerEnd::Drained) => {}
            Ok(WorkerEnd::Dropped(batches)) => dropped += batches,
            Err(error) => tracing::error!(%error, "a trigger's task failed"),
        }
    }
    dropped
}

fn work(
    tenant: &Tenant,
    plugin: &str,
    triggers: &[Trigger],
    rollout: &Arc<Rollout>,
    metrics: &PluginMetrics,
) -> Vec<Task> {
    let (base, prefix) = (&tenant.base, &tenant.config.prefix);
    let begin = |trigger: &Trigger| {
        let (stop, ready, give_up) = (base.stop.child_token(), Arc::new(AtomicBool::new(false)), base.give_up.clone());
        let worker = match trigger {
            Trigger::Stream(trigger) => {
                let source = source(&tenant.config, plugin, trigger);
                let consumer = Consumer::new(Arc::new(source), base.consumer_name());
                let (store, rollout) = (tenant.store.clone(), rollout.clone());
                let context =
                    StreamContext::new(store, consumer, trigger.clone(), rollout, metrics.clone(), base.protocol);
                tokio::spawn(Worker::new(Arc::new(context), ready.clone()).run(stop.clone(), give_up))
            }
            Trigger::Queue(trigger) => {
                let (store, rollout) = (tenant.store.clone(), rollout.clone());
                let context =
                    queue::QueueContext::new(store, prefix, trigger.clone(), rollout, metrics.clone(), base.protocol);
                tokio::spawn(queue::Worker::new(Arc::new(context), ready.clone()).run(stop.clone(), give_up))
            }
            Trigger::Schedule(trigger) => {
                let context = schedule::ScheduleContext {
                    store: tenant.store.clone(),
                    keys: schedule::Keys::new(prefix, plugin, &trigger.name),
                    host: base.name.clone(),
                    trigger: trigger.clone(),
                    rollout: rollout.clone(),
                    metrics: metrics.clone(),
                };
                tokio::spawn(schedule::Worker::new(context, ready.clone()).run(stop.clone(), give_up))
            }
            Trigger::Http(trigger) => {
                let service = Arc::new(Service::new(trigger.clone(), rollout.clone(), metrics.clone()));
                // It has its route from this instant on, so that no request falls between it and the one that it
                // replaces.
                let registration = base.routes.take(service.clone());
                tokio::spawn(service.run(registration, ready.clone(), stop.clone(), give_up))
            }
            Trigger::Channel(trigger) => {
                let (store, prefix) = (tenant.store.clone(), prefix.clone());
                let (rollout, metrics) = (rollout.clone(), metrics.clone());
                let worker = channel::Worker { store, prefix, trigger: trigger.clone(), rollout, metrics };
                tokio::spawn(worker.run(ready.clone(), stop.clone(), give_up))
            }
        };
        Task { trigger: trigger.clone(), stop, ready, worker }
    };
    triggers.iter().map(begin).collect()
}

/// What a trigger reads.
fn source(tenant: &TenantConfig, plugin: &str, trigger: &StreamTrigger) -> Source {
    let group = trigger.group.as_deref().unwrap_or(plugin);
    let age_ms = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    Source::new(&tenant.prefix, &trigger.stream, group, trigger.dead_max_len, age_ms(trigger.dead_max_age))
}
