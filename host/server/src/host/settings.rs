//! What a plugin reads through `wasi:config/store`, with the texts that its manifest only refers to.

use super::HostError;
use super::shared::HostShared;
use crate::machine::Machine;
use sandbar_core::config::TenantConfig;
use sandbar_core::manifest::Manifest;
use sandbar_core::secret::{Allowed, Secret, SecretError};

/// Reads the configuration of a plugin, as far as its tenant grants what it refers to.
pub(super) async fn read(
    base: &HostShared,
    tenant: &TenantConfig,
    manifest: &Manifest,
) -> Result<Vec<(String, Secret)>, HostError> {
    let machine = Machine::new(&base.config.folder);
    let (tenant, written, plugin) = (tenant.clone(), manifest.config.clone(), manifest.name.clone());
    let resolve = move || {
        let allowed = Allowed { tenant: &tenant.name, env: &tenant.env, files: &tenant.secret_files };
        let read = |(key, setting): (String, sandbar_core::secret::Setting)| {
            let text = setting.resolve(&format!("config.{key}"), Some(allowed), &machine)?;
            Ok::<_, SecretError>((key, text))
        };
        written.into_iter().map(read).collect::<Result<Vec<_>, _>>()
    };
    let read = tokio::task::spawn_blocking(resolve).await;
    let read = read.map_err(|error| HostError::Compiler { plugin: plugin.clone(), reason: error.to_string() })?;
    read.map_err(|source| HostError::Secret { plugin, source })
}
