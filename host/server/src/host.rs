//! A host: the plugins of a configuration, running on one store.
//!
//! It composes the parts and owns their lives: a plugin is loaded beside the one that it replaces, takes new batches
//! from one instant on, and the old one goes when its last batch is done. It does not know how events are delivered.

mod fleet_member;
mod fleet_record;
mod plugin_slot;
mod replacement;
mod running_plugin;
mod settings;
mod shared;
mod tenant;
mod trial;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::http::{Health, HealthReport, Phase, PluginHealth};
use fleet_member::FleetMember;
use sandbar_core::config::Config;
use sandbar_core::manifest::{Manifest, ManifestError};
use sandbar_core::secret::SecretError;
use sandbar_fleet::{EndedRelease, Fleet, FleetError, Release};
use sandbar_runtime::engine::{Engine, EngineError};
use sandbar_runtime::outgoing::OutboundError;
use sandbar_runtime::plugin::LoadError;
use sandbar_runtime::pool::CallError;
use sandbar_runtime::protocol::Protocol;
use sandbar_runtime::rollout::Rollout;
use sandbar_runtime::telemetry::PluginMetrics;
use sandbar_store::{Store, StoreError};
use sandbar_triggers::http::Routes;
use shared::HostShared;
pub use tenant::Tenant;

/// What a plugin's manifest is called.
pub const MANIFEST_NAME: &str = "plugin.toml";

/// How long a shutdown waits at most until the locks of calls that it dropped are given back.
const RELEASE_LIMIT: Duration = Duration::from_secs(1);

/// Plugins running on one store.
#[derive(Debug)]
pub struct Host {
    base: Arc<HostShared>,
    /// In the order of the configuration; at least one.
    tenants: Vec<Arc<Tenant>>,
    /// What follows the fleet, once the host has joined.
    follower: Mutex<Option<JoinHandle<()>>>,
}

/// Why a host could not start, or could not load a plugin.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The engine could not be set up.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Outgoing requests cannot be sent as the configuration asks.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// A file of a plugin could not be read.
    #[error("cannot read `{path}`: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A manifest is refused.
    #[error("`{path}` is not a valid manifest: {source}")]
    Manifest {
        /// The file.
        path: String,
        /// Why.
        source: ManifestError,
    },
    /// A component is refused.
    #[error("the plugin `{plugin}` cannot be loaded: {source}")]
    Load {
        /// The plugin.
        plugin: String,
        /// Why.
        source: LoadError,
    },
    /// A component cannot be instantiated.
    #[error("the plugin `{plugin}` cannot be started: {source}")]
    Start {
        /// The plugin.
        plugin: String,
        /// Why.
        source: CallError,
    },
    /// A text of its configuration is not where it should be, or may not be referred to.
    #[error("the plugin `{plugin}` cannot be configured: {source}")]
    Secret {
        /// The plugin.
        plugin: String,
        /// Why.
        source: SecretError,
    },
    /// There is no such plugin.
    #[error("the plugin `{plugin}` is not loaded")]
    NotLoaded {
        /// The plugin.
        plugin: String,
    },
    /// The store cannot keep a tenant below its prefix, as its configuration asks.
    #[error("the tenant `{tenant}` cannot get its own user in the store: {source}")]
    Confine {
        /// The tenant.
        tenant: String,
        /// Why.
        source: StoreError,
    },
    /// There is no such tenant.
    #[error("there is no tenant `{0}` in the configuration")]
    NoTenant(String),
    /// Another plugin has the route already.
    #[error("the plugin `{plugin}` asks for the route `{route}`, which the plugin `{other}` has")]
    Route {
        /// The plugin.
        plugin: String,
        /// The route.
        route: String,
        /// Who has it.
        other: String,
    },
    /// The store has no bytes of a release.
    #[error("the component of the plugin `{plugin}` cannot be had: {reason}")]
    Component {
        /// The plugin.
        plugin: String,
        /// Why.
        reason: String,
    },
    /// The store has other bytes than those that were deployed.
    #[error("the component of the plugin `{plugin}` is damaged: its digest is `{found}`, and not `{wanted}`")]
    Digest {
        /// The plugin.
        plugin: String,
        /// What was deployed.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// The host is shutting down.
    #[error("the host is shutting down")]
    Stopping,
    /// The compiler of components failed: a fault of the host.
    #[error("the plugin `{plugin}` could not be compiled: {reason}")]
    Compiler {
        /// The plugin.
        plugin: String,
        /// What happened.
        reason: String,
    },
}

/// A plugin that runs.
#[derive(Debug, Clone)]
pub struct PluginStatus {
    /// Its name.
    pub name: String,
    /// Its tenant.
    pub tenant: String,
    /// The digest of its active version.
    pub version: String,
    /// Its numbers.
    pub metrics: PluginMetrics,
    /// The release that is its active version; number 0 for a version of the host's own, from a folder or from memory.
    pub release: Arc<Release>,
    /// The release that is tried beside it.
    pub tried: Option<Arc<Release>>,
    /// Why it does not run what is deployed, where it does not.
    pub fault: Option<String>,
    /// The host's own versions that were before, the newest first. What was deployed before is in the fleet's record.
    pub history: Vec<EndedRelease>,
    /// Its versions.
    pub rollout: Arc<Rollout>,
}

/// How a shutdown ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// All that was taken is done.
    Clean,
    /// The grace time was over before; so many batches were dropped. Nothing of them is lost: they are redelivered.
    GraceElapsed {
        /// How many.
        batches: usize,
    },
}

impl Host {
    /// A host without plugins. Nothing is kept on disk unless the configuration names a folder for it.
    pub async fn start(config: Config, store: Arc<dyn Store>) -> Result<Self, HostError> {
        Self::start_with(config, store, Protocol::default()).await
    }

    /// The same with another protocol; only for tests that show what the protocol is for.
    pub async fn start_with(config: Config, store: Arc<dyn Store>, protocol: Protocol) -> Result<Self, HostError> {
        let engine = Engine::new(&config.engine, config.engine.cache_dir.clone())?;
        let base = Arc::new(HostShared::new(config, engine, store, protocol));
        let mut tenants = Vec::with_capacity(base.config.tenants.len());
        for tenant in &base.config.tenants {
            tenants.push(Arc::new(Tenant::new(&base, tenant).await?));
        }
        Ok(Self { base, tenants, follower: Mutex::default() })
    }

    /// Its tenants, in the order of the configuration.
    pub fn tenants(&self) -> &[Arc<Tenant>] {
        &self.tenants
    }

    /// The tenant of a name.
    pub fn tenant(&self, name: &str) -> Result<&Arc<Tenant>, HostError> {
        let found = self.tenants.iter().find(|tenant| tenant.name() == name);
        found.ok_or_else(|| HostError::NoTenant(name.to_owned()))
    }

    /// The first tenant, which most hosts have alone.
    pub fn first(&self) -> Result<&Arc<Tenant>, HostError> {
        self.tenants.first().ok_or_else(|| HostError::NoTenant(String::new()))
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.base.config
    }

    /// Where the primitives live.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.base.store
    }

    /// The engine, for looking at components.
    pub fn engine(&self) -> &Engine {
        &self.base.engine
    }

    /// Joins the fleet of its store: loads what is deployed there, and follows from then on. `listen` is where the
    /// host answers over HTTP. Fails where the store cannot be asked. Join before folders are loaded, so that no
    /// event meets a version that is not the fleet's.
    pub async fn join_fleet(&self, listen: Option<String>) -> Result<(), FleetError> {
        let fleet = Fleet::new(self.base.store.clone(), &self.base.config.fleet.prefix);
        if self.base.fleet.set(fleet.clone()).is_err() {
            return Ok(());
        }
        let follower = FleetMember::join(&self.base, &self.tenants, fleet, listen).await?;
        *self.follower.lock() = Some(tokio::spawn(follower.run()));
        Ok(())
    }

    /// The fleet that it has joined.
    pub fn fleet(&self) -> Option<&Fleet> {
        self.base.fleet.get()
    }

    /// The id by which the fleet knows it.
    pub fn id(&self) -> &str {
        &self.base.name
    }

    /// Loads the plugin of a folder for the first tenant; see [`Tenant::load`].
    pub async fn load(&self, folder: &Path, component: &Path) -> Result<(), HostError> {
        self.first()?.load(folder, component).await
    }

    /// The same from memory.
    pub async fn load_bytes(&self, manifest: Manifest, bytes: Vec<u8>) -> Result<(), HostError> {
        self.first()?.load_bytes(manifest, bytes).await
    }

    /// Which plugin answers below which path, for a server.
    pub fn routes(&self) -> Routes {
        self.base.routes.clone()
    }

    /// The plugins of all tenants that are loaded, by name.
    pub fn plugins(&self) -> Vec<PluginStatus> {
        self.tenants.iter().flat_map(|tenant| tenant.plugins()).collect()
    }

    /// Takes no more events, finishes what was taken within the grace time, and ends.
    pub async fn shutdown(&self) -> Drained {
        self.base.routes.close();
        self.base.stop.cancel();
        let drain = futures_util::future::join_all(self.tenants.iter().map(|tenant| tenant.drained()));
        tokio::pin!(drain);
        let ended = tokio::select! {
            ended = &mut drain => ended,
            () = tokio::time::sleep(self.base.config.shutdown_grace) => {
                self.base.give_up.cancel();
                drain.await
            }
        };
        // Locks of calls that were dropped are given back in the background.
        if tokio::time::timeout(RELEASE_LIMIT, self.base.store.released()).await.is_err() {
            tracing::warn!("some locks were not given back; they will expire");
        }
        self.tenants.iter().for_each(|tenant| tenant.stop());
        let follower = self.follower.lock().take();
        if let Some(Err(error)) = async { Some(follower?.await) }.await {
            tracing::error!(%error, "the task that follows the fleet failed");
        }
        let leave = futures_util::future::join_all(self.tenants.iter().map(|tenant| tenant.leave()));
        if tokio::time::timeout(RELEASE_LIMIT, leave).await.is_err() {
            tracing::warn!("users of tenants stay in the store, which does not answer");
        }
        match ended.into_iter().sum() {
            0 => Drained::Clean,
            batches => Drained::GraceElapsed { batches },
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A host that is dropped without a shutdown leaves its batches to be redelivered.
        self.base.stop.cancel();
        self.base.give_up.cancel();
        self.tenants.iter().for_each(|tenant| tenant.stop());
    }
}

impl Health for Host {
    fn health(&self) -> HealthReport {
        let plugins: Vec<PluginHealth> = self.tenants.iter().flat_map(|tenant| tenant.health()).collect();
        let store_up = self.base.store.is_available();
        let mut degraded = Vec::new();
        if !store_up {
            degraded.push("the store does not answer: triggers wait".to_owned());
        }
        let journals: Vec<usize> = self.tenants.iter().filter_map(|tenant| tenant.journal()).collect();
        if !journals.is_empty() {
            let journal: usize = journals.iter().sum();
            degraded.push(format!(
                "plugins with `on-outage = \"fallback\"` go on in memory; {journal} commits wait to be replayed"
            ));
        }
        let faults = |tenant: &Arc<Tenant>| {
            let fault = |(plugin, fault)| (tenant.name().to_owned(), plugin, fault);
            tenant.faults().into_iter().map(fault).collect::<Vec<_>>()
        };
        let faults: Vec<(String, String, String)> = self.tenants.iter().flat_map(faults).collect();
        degraded.extend(
            faults
                .iter()
                .map(|(_, plugin, fault)| format!("the plugin `{plugin}` does not run what is deployed: {fault}")),
        );
        let has_fault = |plugin: &PluginHealth| {
            faults.iter().any(|(tenant, name, _)| (tenant, name) == (&plugin.tenant, &plugin.name))
        };
        let waiting = plugins.iter().filter(|plugin| !plugin.running && !has_fault(plugin));
        degraded.extend(waiting.map(|plugin| format!("the plugin `{}` does not read its streams yet", plugin.name)));
        let phase = if self.base.stop.is_cancelled() { Phase::Draining } else { Phase::Running };
        HealthReport { phase, store_up, plugins, degraded }
    }
}
