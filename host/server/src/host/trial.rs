//! A second version of a plugin, tried beside the active one on this host alone. The fleet's candidates come by
//! `fleet_record.rs`.

use std::sync::Arc;

use super::tenant::own_release;
use super::{HostError, Tenant};
use sandbar_core::manifest::Manifest;
use sandbar_runtime::pool::Pool;
use sandbar_runtime::rollout::Trial;

impl Tenant {
    /// Tries a version of a plugin that runs, in place of one that is tried already. It is compiled and started
    /// first. It gets the events of the active version's triggers; those of its own manifest are not looked at.
    pub async fn begin_trial(
        self: &Arc<Self>,
        manifest: Manifest,
        bytes: Vec<u8>,
        trial: Trial,
    ) -> Result<(), HostError> {
        let slot = self.slot(&manifest.name);
        let _change_lock = slot.change_lock.lock().await;
        let running = slot.state.lock().running.clone();
        let running = running.ok_or_else(|| HostError::NotLoaded { plugin: slot.name.clone() })?;
        let release = own_release(String::new(), bytes.len(), self.store.now_ms());
        let loaded = self.compile(manifest, release, bytes).await?;
        let candidate = self.warm(&loaded).await?;
        let version = candidate.context().version.clone();
        tracing::info!(
            tenant = self.config.name,
            plugin = slot.name,
            version,
            ?trial,
            "tried beside the active version"
        );
        running.rollout().begin_trial(candidate, trial);
        slot.state.lock().tried = Some(loaded);
        Ok(())
    }

    /// Instances of a version that no trigger knows of, one of them warm: for trials and dry runs.
    pub async fn instances(&self, manifest: Manifest, bytes: Vec<u8>) -> Result<Pool, HostError> {
        let release = own_release(String::new(), bytes.len(), self.store.now_ms());
        let loaded = self.compile(manifest, release, bytes).await?;
        self.warm(&loaded).await
    }

    /// Ends the trial of a plugin's second version, if there is one.
    pub async fn end_trial(&self, plugin: &str) -> Result<(), HostError> {
        let slot = self.slot(plugin);
        let _change_lock = slot.change_lock.lock().await;
        let mut state = slot.state.lock();
        let running = state.running.as_ref().ok_or_else(|| HostError::NotLoaded { plugin: plugin.to_owned() })?;
        running.rollout().end_trial();
        state.tried = None;
        Ok(())
    }
}
