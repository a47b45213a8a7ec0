//! One tenant of a host: its plugins, and what they share.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::base::Base;
use super::running::{self, Running};
use super::{HostError, MANIFEST_NAME, PluginStatus};
use crate::config::TenantConfig;
use crate::http::PluginHealth;
use crate::manifest::Manifest;
use crate::outage::Outage;
use crate::outbound::Outbound;
use crate::plugin::{self, LoadError, Version};
use crate::quota::TenantQuota;
use crate::store::Store;
use crate::tiers::Tiers;

/// One tenant of a host.
#[derive(Debug)]
pub struct Tenant {
    pub(super) base: Arc<Base>,
    pub(super) config: TenantConfig,
    /// Where its primitives live.
    pub(super) store: Arc<dyn Store>,
    pub(super) tiers: Arc<Tiers>,
    pub(super) outbound: Outbound,
    /// What its plugins have used of this host.
    pub(super) quota: Arc<TenantQuota>,
    outage: OnceLock<Arc<Outage>>,
    plugins: Mutex<BTreeMap<String, Running>>,
    /// One plugin is loaded or replaced at a time.
    loading: tokio::sync::Mutex<()>,
}

impl Tenant {
    /// A tenant without plugins.
    pub(super) async fn new(base: &Arc<Base>, config: &TenantConfig) -> Result<Self, HostError> {
        let store = match config.acl {
            true => base.store.confine(&config.name, &config.prefix).await.map_err(|source| {
                HostError::Confine { tenant: config.name.clone(), source }
            })?,
            false => base.store.clone(),
        };
        Ok(Self {
            tiers: Tiers::new(store.clone(), &config.name, &config.prefix, base.config.cache.memory.as_u64()),
            outbound: base.outbound(config)?,
            quota: base.quota(config),
            config: config.clone(),
            base: base.clone(),
            store,
            outage: OnceLock::new(),
            plugins: Mutex::default(),
            loading: tokio::sync::Mutex::default(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// The tiers of its cache.
    pub fn tiers(&self) -> &Arc<Tiers> {
        &self.tiers
    }

    /// What stands in for its store; made when the first plugin asks for it.
    pub(super) fn outage(&self) -> Arc<Outage> {
        let start = || {
            let key = format!("{}sandbar:journal:{}", self.config.prefix, self.base.name);
            Arc::new(Outage::start(self.store.clone(), key))
        };
        self.outage.get_or_init(start).clone()
    }

    /// How many commits wait to be replayed; none while calls go to the store.
    pub(super) fn journal(&self) -> Option<usize> {
        self.outage.get().and_then(|outage| outage.journal())
    }

    /// Loads the plugin of a folder, or replaces the one of that name. The new version is compiled and started before it gets
    /// events; where that fails the old one goes on.
    pub async fn load(&self, folder: &Path, component: &Path) -> Result<(), HostError> {
        let path = folder.join(MANIFEST_NAME);
        let read = |path: &Path| path.display().to_string();
        let text =
            tokio::fs::read_to_string(&path).await.map_err(|source| HostError::Read { path: read(&path), source })?;
        let manifest = Manifest::parse(&text).map_err(|source| HostError::Manifest { path: read(&path), source })?;
        let bytes =
            tokio::fs::read(component).await.map_err(|source| HostError::Read { path: read(component), source })?;
        self.load_bytes(manifest, bytes).await
    }

    /// The same from memory.
    pub async fn load_bytes(&self, manifest: Manifest, bytes: Vec<u8>) -> Result<(), HostError> {
        let _one_at_a_time = self.loading.lock().await;
        if self.base.stop.is_cancelled() {
            return Err(HostError::Stopping);
        }
        self.base.claim_routes(&self.config.name, &manifest)?;
        let name = manifest.name.clone();
        let (engine, for_check) = (self.base.engine.clone(), manifest.clone());
        let version = tokio::task::spawn_blocking(move || plugin::load(&engine, &bytes, &for_check))
            .await
            .map_err(|error| HostError::Compiler { plugin: name.clone(), reason: error.to_string() })?
            .and_then(|version| {
                self.check(&name, &manifest, &version)?;
                Ok(version)
            })
            .map_err(|source| HostError::Load { plugin: name.clone(), source })?;
        let digest = version.digest.to_string();
        let pool = running::pool(self, &manifest, version)
            .await
            .map_err(|source| HostError::Start { plugin: name.clone(), source })?;
        let replaced = self.plugins.lock().remove(&name);
        let version = digest.get(..12).unwrap_or_default().to_owned();
        let running = match replaced {
            Some(running) => {
                tracing::info!(tenant = self.config.name, plugin = name, version, "replacing");
                running.replace(self, manifest, pool).await
            }
            None => {
                tracing::info!(tenant = self.config.name, plugin = name, version, "loaded");
                Running::start(self, manifest, pool)
            }
        };
        self.plugins.lock().insert(name, running);
        Ok(())
    }

    /// Checks that the tenant grants what a version needs, and has room for it.
    fn check(&self, name: &str, manifest: &Manifest, version: &Version) -> Result<(), LoadError> {
        plugin::check_grants(version, manifest, &self.config.grants)?;
        let quota = &self.config.quota;
        if let Some(max) = quota.memory.filter(|max| manifest.limits.memory > *max) {
            let asked = manifest.limits.memory.as_u64();
            let text = format!("its `limits.memory` ({asked}) is more than the tenant's `quota.memory` ({})", max.as_u64());
            return Err(LoadError::NotGranted(text));
        }
        let others = self.plugins.lock().keys().filter(|other| *other != name).count();
        match quota.plugins {
            Some(max) if others >= usize::try_from(max).unwrap_or(usize::MAX) => {
                Err(LoadError::NotGranted(format!("the tenant has {others} plugins, which is all that its `quota.plugins` allows")))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Its plugins that are loaded, by name.
    pub fn plugins(&self) -> Vec<PluginStatus> {
        self.plugins.lock().iter().map(|(name, running)| running.status(name)).collect()
    }

    pub(super) fn health(&self) -> Vec<PluginHealth> {
        self.plugins.lock().iter().map(|(name, running)| running.health(name)).collect()
    }

    /// Waits until its plugins have ended, which somebody has told them to, and answers how many batches they dropped.
    pub(super) async fn drained(&self) -> usize {
        // A plugin that is being replaced waits for the batches of its old triggers, within the grace time like all others.
        let _no_more_loading = self.loading.lock().await;
        let plugins = std::mem::take(&mut *self.plugins.lock());
        futures_util::future::join_all(plugins.into_values().map(Running::drained)).await.into_iter().sum()
    }

    /// Takes back what the store has made for it alone.
    pub(super) async fn leave(&self) {
        if !self.config.acl {
            return;
        }
        if let Err(error) = self.store.unconfine().await {
            tracing::warn!(tenant = self.config.name, %error, "the tenant's user stays in the store");
        }
    }

    /// Ends what is still being loaded into its cache.
    pub(super) fn stop(&self) {
        self.tiers.stop();
    }
}
