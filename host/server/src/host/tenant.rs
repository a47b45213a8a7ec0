//! One tenant of a host: its plugins, and what they share.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::plugin_slot::{Loaded, PluginSlot};
use super::running_plugin::VersionOrigin;
use super::shared::HostShared;
use super::{HostError, MANIFEST_NAME, PluginStatus};
use crate::http::PluginHealth;
use sandbar_core::config::TenantConfig;
use sandbar_core::manifest::Manifest;
use sandbar_fleet::{EndReason, Release};
use sandbar_runtime::outage::Outage;
use sandbar_runtime::outgoing::Outbound;
use sandbar_runtime::plugin::{self, LoadError, Version};
use sandbar_runtime::scheduling::quota::TenantQuota;
use sandbar_runtime::tiered_cache::TieredCache;
use sandbar_store::Store;

/// Who a version of a host's own is from.
const FILE: &str = "file";

/// One tenant of a host.
#[derive(Debug)]
pub struct Tenant {
    pub(super) base: Arc<HostShared>,
    pub(super) config: TenantConfig,
    /// Where its primitives live.
    pub(super) store: Arc<dyn Store>,
    pub(super) tiered_cache: Arc<TieredCache>,
    pub(super) outbound: Outbound,
    /// What its plugins have used of this host.
    pub(super) quota: Arc<TenantQuota>,
    outage: OnceLock<Arc<Outage>>,
    /// One for each plugin that was ever to run.
    slots: Mutex<BTreeMap<String, Arc<PluginSlot>>>,
}

impl Tenant {
    /// A tenant without plugins.
    pub(super) async fn new(base: &Arc<HostShared>, config: &TenantConfig) -> Result<Self, HostError> {
        let store = match config.acl {
            true => base
                .store
                .confine(&config.name, &config.prefix)
                .await
                .map_err(|source| HostError::Confine { tenant: config.name.clone(), source })?,
            false => base.store.clone(),
        };
        Ok(Self {
            tiered_cache: TieredCache::new(
                store.clone(),
                &config.name,
                &config.prefix,
                base.config.cache.memory.as_u64(),
            ),
            outbound: base.outbound(config)?,
            quota: base.quota(config),
            config: config.clone(),
            base: base.clone(),
            store,
            outage: OnceLock::new(),
            slots: Mutex::default(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// The tiered_cache of its cache.
    pub fn tiered_cache(&self) -> &Arc<TieredCache> {
        &self.tiered_cache
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

    /// Loads the plugin of a folder, or replaces the one of that name. The new version is compiled and started before
    /// it gets events; where that fails the old one goes on. A release that is deployed to the fleet goes before it.
    pub async fn load(self: &Arc<Self>, folder: &Path, component: &Path) -> Result<(), HostError> {
        let path = folder.join(MANIFEST_NAME);
        let read = |path: &Path| path.display().to_string();
        let text =
            tokio::fs::read_to_string(&path).await.map_err(|source| HostError::Read { path: read(&path), source })?;
        let manifest = Manifest::parse(&text).map_err(|source| HostError::Manifest { path: read(&path), source })?;
        let bytes =
            tokio::fs::read(component).await.map_err(|source| HostError::Read { path: read(component), source })?;
        self.load_own(manifest, text, bytes).await
    }

    /// The same from memory.
    pub async fn load_bytes(self: &Arc<Self>, manifest: Manifest, bytes: Vec<u8>) -> Result<(), HostError> {
        self.load_own(manifest, String::new(), bytes).await
    }

    /// Loads a version of the host's own. Goes on where it is dropped: a plugin is never left half replaced.
    async fn load_own(self: &Arc<Self>, manifest: Manifest, text: String, bytes: Vec<u8>) -> Result<(), HostError> {
        let (tenant, plugin) = (self.clone(), manifest.name.clone());
        let load = async move { tenant.put_own(manifest, text, bytes).await };
        let ended = tokio::spawn(load).await;
        ended.unwrap_or_else(|error| Err(HostError::Compiler { plugin, reason: error.to_string() }))
    }

    async fn put_own(self: &Arc<Self>, manifest: Manifest, text: String, bytes: Vec<u8>) -> Result<(), HostError> {
        let slot = self.slot(&manifest.name);
        let _change_lock = slot.change_lock.lock().await;
        let release = own_release(text, bytes.len(), self.store.now_ms());
        let loaded = self.compile(manifest, release, bytes).await?;
        let deployed = slot.state.lock().wanted().map(|release| release.number);
        if let Some(number) = deployed {
            let version = loaded.release.digest.get(..12).unwrap_or_default();
            tracing::warn!(
                tenant = self.config.name,
                plugin = slot.name,
                number,
                version,
                "the release that is deployed goes before the version of the folder, which waits until that is rolled back or removed"
            );
            self.keep_own(&slot, loaded);
            return Ok(());
        }
        let pool = self.warm(&loaded).await?;
        self.put(&slot, loaded.clone(), pool, VersionOrigin::New).await?;
        self.keep_own(&slot, loaded);
        Ok(())
    }

    /// Notes the host's own version, and that the one before has ended.
    fn keep_own(&self, slot: &PluginSlot, loaded: Loaded) {
        let mut state = slot.state.lock();
        if let Some(before) = state.own.replace(loaded) {
            state.past(&before.release, EndReason::Replaced { by: FILE.to_owned() }, self.store.now_ms());
        }
    }

    /// Takes the host's own version of a plugin away, and stops the plugin where no release is deployed. False where
    /// there is none.
    pub async fn unload(self: &Arc<Self>, plugin: &str) -> bool {
        let (tenant, slot) = (self.clone(), self.slot(plugin));
        let unload = async move {
            let _change_lock = slot.change_lock.lock().await;
            let (own, runs) = {
                let mut state = slot.state.lock();
                (state.own.take(), state.active.as_ref().is_some_and(Loaded::is_own))
            };
            let Some(own) = own else { return false };
            if runs {
                tenant.stop_plugin(&slot).await;
            }
            slot.state.lock().past(&own.release, EndReason::Removed { by: FILE.to_owned() }, tenant.store.now_ms());
            true
        };
        tokio::spawn(unload).await.unwrap_or_default()
    }

    /// The place of a plugin.
    pub(super) fn slot(&self, plugin: &str) -> Arc<PluginSlot> {
        let mut slots = self.slots.lock();
        slots.entry(plugin.to_owned()).or_insert_with(|| Arc::new(PluginSlot::new(plugin))).clone()
    }

    /// All places, by name.
    pub(super) fn slots(&self) -> Vec<Arc<PluginSlot>> {
        self.slots.lock().values().cloned().collect()
    }

    /// Compiles and checks a version. The release's digest is found out where it is empty, else compared.
    pub(super) async fn compile(
        &self,
        manifest: Manifest,
        mut release: Release,
        bytes: impl AsRef<[u8]> + Send + 'static,
    ) -> Result<Loaded, HostError> {
        if self.base.stop.is_cancelled() {
            return Err(HostError::Stopping);
        }
        self.base.check_routes(&self.config.name, &manifest)?;
        let name = manifest.name.clone();
        let (engine, manifest) = (self.base.engine.clone(), Arc::new(manifest));
        let for_check = manifest.clone();
        // It is never closed.
        let _permit = self.base.compiling.acquire().await.ok();
        let version = tokio::task::spawn_blocking(move || plugin::load(&engine, bytes.as_ref(), &for_check))
            .await
            .map_err(|error| HostError::Compiler { plugin: name.clone(), reason: error.to_string() })?
            .and_then(|version| {
                self.check(&name, &manifest, &version)?;
                Ok(version)
            })
            .map_err(|source| HostError::Load { plugin: name.clone(), source })?;
        if release.digest.is_empty() {
            release.digest = version.digest.to_string();
        }
        if *release.digest != *version.digest {
            return Err(HostError::Digest { plugin: name, wanted: release.digest, found: version.digest.to_string() });
        }
        Ok(Loaded { manifest, version, release: Arc::new(release) })
    }

    /// Checks that the tenant grants what a version needs, and has room for it.
    fn check(&self, name: &str, manifest: &Manifest, version: &Version) -> Result<(), LoadError> {
        plugin::check_grants(version, manifest, &self.config.grants)?;
        let quota = &self.config.quota;
        if let Some(max) = quota.memory.filter(|max| manifest.limits.memory > *max) {
            let asked = manifest.limits.memory.as_u64();
            let text =
                format!("its `limits.memory` ({asked}) is more than the tenant's `quota.memory` ({})", max.as_u64());
            return Err(LoadError::NotGranted(text));
        }
        let others = self.slots().iter().filter(|slot| slot.name != name && slot.status(self).is_some()).count();
        match quota.plugins {
            Some(max) if others >= usize::try_from(max).unwrap_or(usize::MAX) => Err(LoadError::NotGranted(format!(
                "the tenant has {others} plugins, which is all that its `quota.plugins` allows"
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// Its plugins that run, by name.
    pub fn plugins(&self) -> Vec<PluginStatus> {
        self.slots().iter().filter_map(|slot| slot.status(self)).collect()
    }

    pub(super) fn health(&self) -> Vec<PluginHealth> {
        self.slots().iter().filter_map(|slot| slot.health(self)).collect()
    }

    /// Why plugins do not run what they should, by plugin.
    pub(super) fn faults(&self) -> Vec<(String, String)> {
        let fault = |slot: &Arc<PluginSlot>| slot.fault().map(|fault| (slot.name.clone(), fault));
        self.slots().iter().filter_map(fault).collect()
    }

    /// Waits until its plugins have ended, which the caller has stopped, and answers how many batches they dropped.
    pub(super) async fn drained(&self) -> usize {
        let drained = |slot: Arc<PluginSlot>| async move {
            // A plugin that is being replaced waits for the batches of its old triggers, within the grace time like
            // all others.
            let _no_more_loading = slot.change_lock.lock().await;
            let running = {
                let mut state = slot.state.lock();
                (state.active, state.prepared) = (None, None);
                state.running.take()
            };
            match running {
                Some(running) => running.drained().await,
                None => 0,
            }
        };
        futures_util::future::join_all(self.slots().into_iter().map(drained)).await.into_iter().sum()
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
        self.tiered_cache.stop();
    }
}

/// A version of the host's own; its digest is found out when it is compiled.
pub(super) fn own_release(manifest: String, size_bytes: usize, time_ms: u64) -> Release {
    let (digest, size_bytes) = (String::new(), u64::try_from(size_bytes).unwrap_or(u64::MAX));
    Release { number: 0, digest, manifest, size_bytes, time_ms, by: FILE.to_owned() }
}
