//! Brings a plugin to the state that its fleet record asks for.

use std::sync::Arc;

use super::plugin_slot::{Loaded, PluginSlot};
use super::running_plugin::VersionOrigin;
use super::{HostError, Tenant};
use sandbar_core::manifest::Manifest;
use sandbar_fleet::{Fleet, FleetError, Phase, Record, Release};

impl Tenant {
    /// Brings a plugin to the state that the fleet's record asks for, and reports the result
    /// to the fleet. Whatever fails is a fault
    /// of the slot, and the version that runs goes on.
    pub(super) async fn follow(
        self: &Arc<Self>,
        fleet: &Fleet,
        plugin: &str,
        record: Arc<Record>,
    ) -> Result<(), FleetError> {
        let slot = self.slot(plugin);
        let _change_lock = slot.change_lock.lock().await;
        slot.state.lock().record = Some(record.clone());
        let followed = self.follow_active(fleet, &slot, &record).await;
        let fault = followed.err().map(|error| error.to_string());
        if let Some(reason) = &fault {
            tracing::error!(
                tenant = self.config.name,
                plugin,
                reason,
                "the release that is deployed does not run here"
            );
        }
        slot.state.lock().fault = fault;
        self.follow_candidate(fleet, &slot, &record).await;
        if self.base.stop.is_cancelled() {
            // What failed may have failed because of that.
            return Ok(());
        }
        fleet.report(&self.config.name, plugin, &slot.report(&self.base.name)).await
    }

    /// Sees to it that the active release runs, or the host's own version where there is none.
    async fn follow_active(
        self: &Arc<Self>,
        fleet: &Fleet,
        slot: &Arc<PluginSlot>,
        record: &Record,
    ) -> Result<(), HostError> {
        let Some(release) = &record.active else {
            let (own, runs_own) = {
                let state = slot.state.lock();
                (state.own.clone(), state.active.as_ref().is_none_or(Loaded::is_own))
            };
            if runs_own {
                return Ok(());
            }
            let Some(own) = own else {
                self.stop_plugin(slot).await;
                return Ok(());
            };
            tracing::info!(tenant = self.config.name, plugin = slot.name, "the version of the folder is back");
            let pool = self.warm(&own).await?;
            return self.put(slot, own, pool, VersionOrigin::Known).await;
        };
        let runs = slot.state.lock().active.as_ref().map(|active| (active.is(release), active.release.number));
        let origin = match runs {
            Some((true, _)) => return Ok(()),
            Some((false, number)) if release.number < number => VersionOrigin::Known,
            Some(_) | None => VersionOrigin::New,
        };
        let prepared = {
            let mut state = slot.state.lock();
            state.prepared.take_if(|(loaded, _)| loaded.is(release))
        };
        let (loaded, pool) = match prepared {
            Some(prepared) => prepared,
            None => {
                let loaded = self.obtain(fleet, slot, release).await?;
                let pool = self.warm(&loaded).await?;
                (loaded, pool)
            }
        };
        self.put(slot, loaded, pool, origin).await
    }

    /// Sees to it that a candidate is loaded, or tried.
    async fn follow_candidate(self: &Arc<Self>, fleet: &Fleet, slot: &Arc<PluginSlot>, record: &Record) {
        let running = slot.state.lock().running.clone();
        let Some(candidate) = &record.candidate else {
            let (tried, _) = {
                let mut state = slot.state.lock();
                state.refused = None;
                // A trial of this host alone goes on.
                (state.tried.take_if(|tried| !tried.is_own()), state.prepared.take())
            };
            if let (Some(running), Some(_)) = (running, tried) {
                running.rollout().end_trial();
            }
            return;
        };
        let release = &candidate.release;
        let begins = record.phase == Phase::Trial;
        let (is_prepared, is_tried) = {
            let state = slot.state.lock();
            (
                state.prepared.as_ref().is_some_and(|(loaded, _)| loaded.is(release)),
                state.tried.as_ref().is_some_and(|loaded| loaded.is(release)),
            )
        };
        if is_tried {
            return;
        }
        if !is_prepared {
            let prepared = async {
                let loaded = self.obtain(fleet, slot, release).await?;
                let pool = self.warm(&loaded).await?;
                Ok::<_, HostError>((loaded, pool))
            };
            let prepared = prepared.await;
            let mut state = slot.state.lock();
            match prepared {
                Ok(prepared) => (state.prepared, state.refused) = (Some(prepared), None),
                Err(error) => {
                    let (tenant, plugin, number) = (&self.config.name, &slot.name, release.number);
                    tracing::warn!(tenant, plugin, number, %error, "a release that is being deployed cannot run here");
                    state.refused = Some((release.number, error.to_string()));
                }
            }
        }
        // A plugin that does not run here has nothing that the candidate could be tried beside.
        if let (true, Some(running), Some(trial)) = (begins, running, candidate.trial) {
            let mut state = slot.state.lock();
            if let Some((loaded, pool)) = state.prepared.take_if(|(loaded, _)| loaded.is(release)) {
                running.rollout().begin_trial(pool, trial);
                state.tried = Some(loaded);
            }
        }
    }

    /// A release as a version: one that is in memory still, or compiled from the bytes in the store.
    async fn obtain(&self, fleet: &Fleet, slot: &PluginSlot, release: &Release) -> Result<Loaded, HostError> {
        let kept = slot.state.lock().find(release);
        if let Some(kept) = kept {
            return Ok(Loaded { release: Arc::new(release.clone()), ..kept });
        }
        let manifest = Manifest::parse(&release.manifest)
            .map_err(|source| HostError::Manifest { path: format!("release {}", release.number), source })?;
        let missing = |reason: String| HostError::Component { plugin: slot.name.clone(), reason };
        // It is never closed.
        let _permit = self.base.fetching.acquire().await.ok();
        let bytes = fleet.component(&release.digest).await.map_err(|error| missing(error.to_string()))?;
        let bytes = bytes.ok_or_else(|| missing(format!("there is no component `{}` in the store", release.digest)))?;
        self.compile(manifest, release.clone(), bytes).await
    }
}
