//! Replaces the version that a plugin runs. The new version is warmed beside the active one and takes over at one
//! instant. A version that fails its probation is replaced by the one before it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::plugin_slot::{Loaded, PluginSlot};
use super::running_plugin::{self, RunningPlugin, VersionOrigin};
use super::{HostError, Tenant};
use sandbar_fleet::EndReason;
use sandbar_runtime::pool::Pool;
use sandbar_runtime::rollout::FailedProbation;
use sandbar_runtime::telemetry::PluginMetrics;

/// How often it is tried to take a version back.
const TAKE_BACK_ATTEMPTS: u32 = 600;
/// How long that rests in between.
const TAKE_BACK_REST: Duration = Duration::from_secs(1);

impl Tenant {
    /// The instances of a version, one of them warm.
    pub(super) async fn warm(&self, loaded: &Loaded) -> Result<Pool, HostError> {
        running_plugin::pool(self, &loaded.manifest, loaded.version.clone()).await
    }

    /// Puts a version in place. New calls go to it from one instant on; those under way finish on the one before. The
    /// caller holds the slot's change lock.
    pub(super) async fn put(
        self: &Arc<Self>,
        slot: &Arc<PluginSlot>,
        loaded: Loaded,
        pool: Pool,
        origin: VersionOrigin,
    ) -> Result<(), HostError> {
        if self.base.stop.is_cancelled() {
            return Err(HostError::Stopping);
        }
        self.base.claim_routes(&self.config.name, &loaded.manifest)?;
        let (tenant, plugin, number) = (&self.config.name, &slot.name, loaded.release.number);
        let version = loaded.release.digest.get(..12).unwrap_or_default().to_owned();
        let manifest = loaded.manifest.clone();
        let running = slot.state.lock().running.clone();
        match running {
            Some(running) => {
                tracing::info!(tenant, plugin, version, number, "replacing");
                {
                    let mut state = slot.state.lock();
                    state.before = state.active.replace(loaded);
                    state.fault = None;
                }
                running.replace(self, &manifest, pool, origin).await;
            }
            None => {
                tracing::info!(tenant, plugin, version, number, "loaded");
                let mut state = slot.state.lock();
                let metrics = state.metrics.get_or_insert_with(|| PluginMetrics::new(tenant, plugin)).clone();
                let running = Arc::new(RunningPlugin::start(self, &manifest, metrics, pool));
                tokio::spawn(watch(self.clone(), slot.clone(), running.clone()));
                state.running = Some(running);
                state.active = Some(loaded);
                state.fault = None;
            }
        }
        Ok(())
    }

    /// Stops a plugin: its triggers take no more, and what they have taken is finished. The caller
    /// holds the slot's change lock.
    pub(super) async fn stop_plugin(&self, slot: &PluginSlot) {
        let running = {
            let mut state = slot.state.lock();
            state.before = state.active.take();
            state.running.take()
        };
        if let Some(running) = running {
            tracing::info!(tenant = self.config.name, plugin = slot.name, "unloading");
            let dropped = running.drained().await;
            if dropped > 0 {
                tracing::warn!(plugin = slot.name, batches = dropped, "batches were dropped; they are redelivered");
            }
        }
        self.quota.forget(&slot.name);
        self.base.give_routes_back(&self.config.name, &slot.name);
    }

    /// Takes a version back that was found not good enough: in the whole fleet where it was deployed, else on this
    /// host.
    async fn take_back(
        self: &Arc<Self>,
        slot: &Arc<PluginSlot>,
        failed_probation: &FailedProbation,
    ) -> Result<(), String> {
        let version = &failed_probation.version;
        let (tenant, plugin) = (&self.config.name, &slot.name);
        let found = {
            let state = slot.state.lock();
            let number = |loaded: &Loaded| (loaded.release.digest == *version).then_some(loaded.release.number);
            let tried = state.tried.as_ref().and_then(number).map(|number| (number, true));
            tried.or(state.active.as_ref().and_then(number).map(|number| (number, false)))
        };
        let Some((number, is_tried)) = found else { return Ok(()) };
        match (number, self.base.fleet.get()) {
            (0, _) if is_tried => self.end_trial(plugin).await.map_err(|error| error.to_string()),
            (0, _) => self.take_own_back(slot, failed_probation).await,
            (_, Some(fleet)) => {
                let taken = fleet.fail_probation(tenant, plugin, number, failed_probation, &self.base.name).await;
                taken.map(|_| ()).map_err(|error| error.to_string())
            }
            (_, None) => Err("the host is in no fleet".to_owned()),
        }
    }

    /// Goes back to the host's own version before.
    async fn take_own_back(
        self: &Arc<Self>,
        slot: &Arc<PluginSlot>,
        failed_probation: &FailedProbation,
    ) -> Result<(), String> {
        let _change_lock = slot.change_lock.lock().await;
        let before = slot.state.lock().before.clone().filter(Loaded::is_own);
        let Some(before) = before else { return Err("there is no version before it on this host".to_owned()) };
        let pool = self.warm(&before).await.map_err(|error| error.to_string())?;
        self.put(slot, before.clone(), pool, VersionOrigin::Known).await.map_err(|error| error.to_string())?;
        let FailedProbation { reason, events, .. } = failed_probation.clone();
        let why = EndReason::FailedProbation { host: self.base.name.clone(), reason, events };
        let mut state = slot.state.lock();
        state.before = None;
        if let Some(ended) = state.own.replace(before) {
            state.past(&ended.release, why, self.store.now_ms());
        }
        Ok(())
    }
}

/// Waits for versions that are found not good enough, as long as a plugin runs, and takes them back. In a box,
/// because taking back starts plugins, and the one that starts a plugin watches it.
fn watch(tenant: Arc<Tenant>, slot: Arc<PluginSlot>, running: Arc<RunningPlugin>) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let gone = running.gone().clone();
        loop {
            let failed_probation = tokio::select! {
                failed_probation = running.rollout().failed_probation() => failed_probation,
                () = gone.cancelled() => return,
            };
            let FailedProbation { version, reason, events } = &failed_probation;
            tracing::warn!(
                tenant = tenant.name(),
                plugin = slot.name,
                version,
                reason,
                ?events,
                "a version is taken back"
            );
            for attempt in 0..TAKE_BACK_ATTEMPTS {
                // The store may be away.
                let taken = tenant.take_back(&slot, &failed_probation).await;
                if let Err(reason) = &taken
                    && attempt == 0
                {
                    let FailedProbation { version, .. } = &failed_probation;
                    let (tenant, plugin) = (tenant.name(), &slot.name);
                    tracing::error!(
                        tenant,
                        plugin,
                        version,
                        reason,
                        "a version was not taken back, and is tried again"
                    );
                }
                // What is taken back still runs for a moment, and is reported again meanwhile.
                tokio::select! {
                    () = tokio::time::sleep(TAKE_BACK_REST) => {}
                    () = gone.cancelled() => return,
                }
                if taken.is_ok() {
                    break;
                }
            }
        }
    })
}
