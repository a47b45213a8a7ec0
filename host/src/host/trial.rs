//! A second version of a plugin, tried beside the active one on this host.

use std::sync::Arc;

use super::running::pool;
use super::{HostError, Tenant};
use crate::lineup::{Lineup, Trial};
use crate::manifest::Manifest;
use crate::plugin;

impl Tenant {
    /// Tries a version of a plugin that is loaded, in place of one that is tried already. It is compiled and started first. It gets the
    /// events of the active version's triggers; those of its own manifest are not looked at.
    pub async fn begin_trial(&self, manifest: Manifest, bytes: Vec<u8>, trial: Trial) -> Result<(), HostError> {
        let lineup = self.lineup(&manifest.name)?;
        let name = manifest.name.clone();
        let (engine, for_check) = (self.base.engine.clone(), manifest.clone());
        let version = tokio::task::spawn_blocking(move || plugin::load(&engine, &bytes, &for_check))
            .await
            .map_err(|error| HostError::Compiler { plugin: name.clone(), reason: error.to_string() })?
            .map_err(|source| HostError::Load { plugin: name.clone(), source })?;
        let candidate =
            pool(self, &manifest, version).await.map_err(|source| HostError::Start { plugin: name.clone(), source })?;
        let version = candidate.identity().version.clone();
        tracing::info!(tenant = self.config.name, plugin = name, version, ?trial, "tried beside the active version");
        lineup.begin_trial(candidate, trial);
        Ok(())
    }

    /// Ends the trial of a plugin's second version, if there is one.
    pub fn end_trial(&self, plugin: &str) -> Result<(), HostError> {
        self.lineup(plugin)?.end_trial();
        Ok(())
    }

    /// The versions of a plugin that is loaded.
    fn lineup(&self, plugin: &str) -> Result<Arc<Lineup>, HostError> {
        let status = self.plugins().into_iter().find(|status| status.name == plugin);
        status.map(|status| status.lineup).ok_or_else(|| HostError::NotLoaded { plugin: plugin.to_owned() })
    }
}
