//! A second version of a plugin, tried beside the active one on this host alone. What a whole fleet tries is in the fleet's record.

use std::sync::Arc;

use super::{HostError, Tenant};
use crate::fleet::Release;
use crate::lineup::{Lineup, Trial};
use crate::manifest::Manifest;
use crate::pool::Pool;

impl Tenant {
    /// Tries a version of a plugin that is loaded, in place of one that is tried already. It is compiled and started first. It gets the
    /// events of the active version's triggers; those of its own manifest are not looked at.
    pub async fn begin_trial(&self, manifest: Manifest, bytes: Vec<u8>, trial: Trial) -> Result<(), HostError> {
        let lineup = self.lineup(&manifest.name)?;
        let candidate = self.instances(manifest, bytes).await?;
        let identity = candidate.identity().clone();
        let (plugin, version) = (&identity.plugin, &identity.version);
        tracing::info!(tenant = self.config.name, plugin, version, ?trial, "tried beside the active version");
        lineup.begin_trial(candidate, trial);
        Ok(())
    }

    /// Instances of a version that no trigger knows of, one of them warm: for trials and rehearsals.
    pub async fn instances(&self, manifest: Manifest, bytes: Vec<u8>) -> Result<Pool, HostError> {
        let release = Release {
            number: 0,
            digest: String::new(),
            manifest: String::new(),
            size_bytes: bytes.len() as u64,
            time_ms: self.store.now_ms(),
            by: String::new(),
        };
        let loaded = self.compile(manifest, release, bytes).await?;
        self.warm(&loaded).await
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
