//! How a plugin comes to run another version: warmed beside the active one, put in place at one instant, and taken back.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::running::{self, Running};
use super::slot::{Loaded, Slot};
use super::{HostError, Tenant};
use crate::fleet::Why;
use crate::lineup::Condemned;
use crate::pool::Pool;
use crate::telemetry::PluginMetrics;

/// How long a version that was condemned and could not be taken back rests until that is looked at again.
const CONDEMNED_REST: Duration = Duration::from_secs(1);

impl Tenant {
    /// The instances of a version, one of them warm.
    pub(super) async fn warm(&self, loaded: &Loaded) -> Result<Pool, HostError> {
        running::pool(self, &loaded.manifest, loaded.version.clone()).await
    }

    /// Puts a version in place. New calls go to it from one instant on; those under way finish on the one before. Whoever calls it has the
    /// turn of the slot.
    pub(super) async fn put(self: &Arc<Self>, slot: &Arc<Slot>, loaded: Loaded, pool: Pool) -> Result<(), HostError> {
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
                }
                running.replace(self, &manifest, pool).await;
            }
            None => {
                tracing::info!(tenant, plugin, version, number, "loaded");
                let mut state = slot.state.lock();
                let metrics = state.metrics.get_or_insert_with(|| PluginMetrics::new(tenant, plugin)).clone();
                let running = Arc::new(Running::start(self, &manifest, metrics, pool));
                tokio::spawn(watch(self.clone(), slot.clone(), running.clone()));
                state.running = Some(running);
                state.active = Some(loaded);
            }
        }
        Ok(())
    }

    /// Stops a plugin: its triggers take no more, and what they have taken is finished. Whoever calls it has the turn of the slot.
    pub(super) async fn stop_plugin(&self, slot: &Slot) {
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
        self.base.give_routes_back(&self.config.name, &slot.name);
    }

    /// Takes a version back that was found not good enough: in the whole fleet where it was deployed, else to the host's own version before.
    async fn take_back(self: &Arc<Self>, slot: &Arc<Slot>, condemned: &Condemned) -> Result<(), String> {
        let Condemned { version, reason, events } = condemned;
        let (is_deployed, is_own) = {
            let state = slot.state.lock();
            let is_it = |loaded: &&Loaded| loaded.release.digest == *version;
            let found = state.tried.iter().chain(&state.active).find(is_it);
            (found.is_some_and(|loaded| !loaded.is_own()), found.is_some_and(Loaded::is_own))
        };
        tracing::warn!(
            tenant = self.config.name,
            plugin = slot.name,
            version,
            reason,
            ?events,
            "a version is taken back"
        );
        if is_deployed {
            let Some(fleet) = self.base.fleet.get() else { return Err("the host is in no fleet".to_owned()) };
            let host = &self.base.name;
            let taken = fleet.condemn(&self.config.name, &slot.name, condemned, host).await;
            return taken.map(|_| ()).map_err(|error| error.to_string());
        }
        if !is_own {
            return Ok(());
        }
        let _turn = slot.turn.lock().await;
        let before = slot.state.lock().before.clone();
        let Some(before) = before.filter(|before| before.is_own() && before.release.digest != *version) else {
            return Err("there is no version before it on this host".to_owned());
        };
        let pool = self.warm(&before).await.map_err(|error| error.to_string())?;
        self.put(slot, before.clone(), pool).await.map_err(|error| error.to_string())?;
        let why = Why::Condemned { host: self.base.name.clone(), reason: reason.clone(), events: events.clone() };
        let mut state = slot.state.lock();
        state.before = None;
        if let Some(ended) = state.own.replace(before) {
            state.past(&ended.release, why, self.store.now_ms());
        }
        Ok(())
    }
}

/// Waits for versions that are found not good enough, as long as a plugin runs, and takes them back. In a box, because taking back starts
/// plugins, and whoever starts a plugin watches it.
fn watch(tenant: Arc<Tenant>, slot: Arc<Slot>, running: Arc<Running>) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let gone = running.gone().clone();
        let mut told: Option<Condemned> = None;
        loop {
            let condemned = tokio::select! {
                condemned = running.lineup().condemned() => condemned,
                () = gone.cancelled() => return,
            };
            if let Err(reason) = tenant.take_back(&slot, &condemned).await
                && told.as_ref() != Some(&condemned)
            {
                let Condemned { version, .. } = &condemned;
                let (tenant, plugin) = (tenant.name(), &slot.name);
                tracing::error!(tenant, plugin, version, reason, "a version was not taken back");
            }
            told = Some(condemned);
            // What is condemned still runs for a moment, or cannot be taken back.
            tokio::select! {
                () = tokio::time::sleep(CONDEMNED_REST) => {}
                () = gone.cancelled() => return,
            }
        }
    })
}
