//! One plugin that runs: its active instances and the workers of its triggers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{PluginStatus, Tenant};
use crate::config::TenantConfig;
use crate::grants::Policy;
use crate::guest::Identity;
use crate::http::PluginHealth;
use crate::lineup::Lineup;
use crate::manifest::{Manifest, OnOutage, StreamTrigger, Trigger};
use crate::plugin::Version;
use crate::pool::{CallError, Pool};
use crate::store::{Consumer, Source};
use crate::telemetry::PluginMetrics;
use crate::trigger::channel;
use crate::trigger::http::Service;
use crate::trigger::stream::{Context, Ended, Worker};
use crate::trigger::{queue, schedule};

/// A plugin that runs.
#[derive(Debug)]
pub(super) struct Running {
    manifest: Manifest,
    lineup: Arc<Lineup>,
    metrics: PluginMetrics,
    workers: Vec<Task>,
    /// Batches that triggers which were replaced had to drop.
    dropped: usize,
}

/// The worker of one trigger.
#[derive(Debug)]
struct Task {
    stop: CancellationToken,
    ready: Arc<AtomicBool>,
    worker: JoinHandle<Ended>,
}

/// The instances of a version, one of them warm.
pub(super) async fn pool(tenant: &Tenant, manifest: &Manifest, version: Version) -> Result<Pool, CallError> {
    let Tenant { base, config, .. } = tenant;
    let identity = Identity {
        tenant: config.name.clone(),
        prefix: config.prefix.clone(),
        host: base.name.clone(),
        plugin: manifest.name.clone(),
        version: version.digest.to_string(),
        policy: Policy::new(manifest.grants.clone(), config.grants.clone()).with_private(config.http_private.clone()),
        limits: manifest.limits.clone(),
        health: manifest.health.clone(),
        config: manifest.config.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        store: tenant.store.clone(),
        outbound: tenant.outbound.clone(),
        outage: (manifest.on_outage == OnOutage::Fallback).then(|| tenant.outage()),
        tiers: tenant.tiers.clone(),
        loader: manifest.cache.loader.clone().or(version.exports.has_loader().then(|| manifest.name.clone())),
        seed: None,
    };
    let pool = Pool::new(Arc::new(identity), version);
    pool.warm().await?;
    Ok(pool)
}

impl Running {
    /// Starts the triggers of a plugin.
    pub(super) fn start(tenant: &Tenant, manifest: Manifest, pool: Pool) -> Self {
        let metrics = PluginMetrics::new(tenant.name(), &manifest.name);
        let lineup = Arc::new(Lineup::new(pool));
        tenant.tiers.register(&manifest.name, &lineup);
        let workers = work(tenant, &manifest, &lineup, &metrics, |_| true);
        Self { manifest, lineup, metrics, workers, dropped: 0 }
    }

    /// Puts another version in place. Batches in flight finish on the old one; the triggers go on reading unless
    /// they themselves have changed.
    pub(super) async fn replace(mut self, tenant: &Tenant, manifest: Manifest, pool: Pool) -> Self {
        self.lineup.replace(pool);
        if manifest.triggers != self.manifest.triggers {
            let old = std::mem::take(&mut self.workers);
            // Requests cannot wait until the old ones are answered: they go to the new triggers from now on.
            let is_http = |trigger: &Trigger| matches!(trigger, Trigger::Http(_));
            self.workers = work(tenant, &manifest, &self.lineup, &self.metrics, is_http);
            self.dropped += stop(old).await;
            self.workers.extend(work(tenant, &manifest, &self.lineup, &self.metrics, |trigger| !is_http(trigger)));
        }
        self.manifest = manifest;
        self
    }

    /// Waits until the workers have ended, which somebody has told them to, and answers how many batches they dropped.
    pub(super) async fn drained(self) -> usize {
        self.dropped + stop(self.workers).await
    }

    pub(super) fn status(&self, name: &str) -> PluginStatus {
        let pool = self.lineup.active();
        PluginStatus {
            name: name.to_owned(),
            tenant: pool.identity().tenant.clone(),
            version: pool.identity().version.clone(),
            metrics: self.metrics.clone(),
            lineup: self.lineup.clone(),
        }
    }

    pub(super) fn health(&self, name: &str) -> PluginHealth {
        let pool = self.lineup.active();
        PluginHealth {
            name: name.to_owned(),
            tenant: pool.identity().tenant.clone(),
            version: pool.identity().version.clone(),
            running: self.workers.iter().all(|task| task.ready.load(Ordering::Relaxed)),
        }
    }
}

async fn stop(workers: Vec<Task>) -> usize {
    workers.iter().for_each(|task| task.stop.cancel());
    let mut dropped = 0;
    for task in workers {
        match task.worker.await {
            Ok(Ended::Drained) => {}
            Ok(Ended::Dropped(batches)) => dropped += batches,
            Err(error) => tracing::error!(%error, "a trigger's task failed"),
        }
    }
    dropped
}

fn work(
    tenant: &Tenant,
    manifest: &Manifest,
    lineup: &Arc<Lineup>,
    metrics: &PluginMetrics,
    which: impl Fn(&Trigger) -> bool,
) -> Vec<Task> {
    let (base, prefix) = (&tenant.base, &tenant.config.prefix);
    let begin = |trigger: &Trigger| {
        let (stop, ready, give_up) = (base.stop.child_token(), Arc::new(AtomicBool::new(false)), base.give_up.clone());
        let worker = match trigger {
            Trigger::Stream(trigger) => {
                let source = source(&tenant.config, &manifest.name, trigger);
                let consumer = Consumer::new(Arc::new(source), base.consumer_name());
                let (store, lineup) = (tenant.store.clone(), lineup.clone());
                let context = Context::new(store, consumer, trigger.clone(), lineup, metrics.clone(), base.protocol);
                tokio::spawn(Worker::new(Arc::new(context), ready.clone()).run(stop.clone(), give_up))
            }
            Trigger::Queue(trigger) => {
                let (store, lineup) = (tenant.store.clone(), lineup.clone());
                let context =
                    queue::Context::new(store, prefix, trigger.clone(), lineup, metrics.clone(), base.protocol);
                tokio::spawn(queue::Worker::new(Arc::new(context), ready.clone()).run(stop.clone(), give_up))
            }
            Trigger::Schedule(trigger) => {
                let context = schedule::Context {
                    store: tenant.store.clone(),
                    keys: schedule::Keys::new(prefix, &manifest.name, &trigger.name),
                    host: base.name.clone(),
                    trigger: trigger.clone(),
                    lineup: lineup.clone(),
                    metrics: metrics.clone(),
                };
                tokio::spawn(schedule::Worker::new(context, ready.clone()).run(stop.clone(), give_up))
            }
            Trigger::Http(trigger) => {
                let service = Arc::new(Service::new(trigger.clone(), lineup.clone(), metrics.clone()));
                // It has its route from this instant on, so that no request falls between it and the one that it replaces.
                let registration = base.routes.take(service.clone());
                tokio::spawn(service.run(registration, ready.clone(), stop.clone(), give_up))
            }
            Trigger::Channel(trigger) => {
                let (store, prefix) = (tenant.store.clone(), prefix.clone());
                let (lineup, metrics) = (lineup.clone(), metrics.clone());
                let worker = channel::Worker { store, prefix, trigger: trigger.clone(), lineup, metrics };
                tokio::spawn(worker.run(ready.clone(), stop.clone(), give_up))
            }
        };
        Task { stop, ready, worker }
    };
    manifest.triggers.iter().filter(|trigger| which(trigger)).map(begin).collect()
}

/// What a trigger reads.
fn source(tenant: &TenantConfig, plugin: &str, trigger: &StreamTrigger) -> Source {
    let group = trigger.group.as_deref().unwrap_or(plugin);
    let age_ms = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    Source::new(&tenant.prefix, &trigger.stream, group, trigger.dead_max_len, age_ms(trigger.dead_max_age))
}
