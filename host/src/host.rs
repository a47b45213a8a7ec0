//! A host: the plugins of a configuration, running on one store.
//!
//! It composes the parts and owns their lives: a plugin is loaded beside the one that it replaces, takes new batches from
//! one instant on, and the old one goes when its last batch is done. It does not know how events are delivered.

mod base;
mod running;
mod tenant;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::engine::{Engine, EngineError};
use crate::http::{Health, HealthReport, Phase, PluginHealth};
use crate::manifest::{Manifest, ManifestError};
use crate::outbound::OutboundError;
use crate::plugin::LoadError;
use crate::pool::CallError;
use crate::store::{Store, StoreError};
use crate::telemetry::PluginMetrics;
use crate::trigger::http::Routes;
use crate::trigger::stream::Protocol;
use base::Base;
pub use tenant::Tenant;

/// What a plugin's manifest is called.
pub const MANIFEST_NAME: &str = "plugin.toml";

/// How long a shutdown waits at most until the locks of calls that it dropped are given back.
const RELEASE_LIMIT: Duration = Duration::from_secs(1);

/// Plugins running on one store.
#[derive(Debug)]
pub struct Host {
    base: Arc<Base>,
    /// In the order of the configuration; at least one.
    tenants: Vec<Tenant>,
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
    #[error("`{path}` is no manifest: {source}")]
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
    /// The store cannot keep a tenant below its prefix, as its configuration asks.
    #[error("the tenant `{tenant}` cannot be given a user of its own: {source}")]
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

/// A plugin that is loaded.
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
        let base = Arc::new(Base::new(config, engine, store, protocol));
        let mut tenants = Vec::with_capacity(base.config.tenants.len());
        for tenant in &base.config.tenants {
            tenants.push(Tenant::new(&base, tenant).await?);
        }
        Ok(Self { base, tenants })
    }

    /// Its tenants, in the order of the configuration.
    pub fn tenants(&self) -> &[Tenant] {
        &self.tenants
    }

    /// The tenant of a name.
    pub fn tenant(&self, name: &str) -> Result<&Tenant, HostError> {
        let found = self.tenants.iter().find(|tenant| tenant.name() == name);
        found.ok_or_else(|| HostError::NoTenant(name.to_owned()))
    }

    /// The first tenant, which most hosts have alone.
    pub fn first(&self) -> Result<&Tenant, HostError> {
        self.tenants.first().ok_or_else(|| HostError::NoTenant(String::new()))
    }

    /// The engine, for looking at components.
    pub fn engine(&self) -> &Engine {
        &self.base.engine
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
        self.tenants.iter().flat_map(Tenant::plugins).collect()
    }

    /// Takes no more events, finishes what was taken within the grace time, and ends.
    pub async fn shutdown(&self) -> Drained {
        self.base.routes.close();
        self.base.stop.cancel();
        let drain = futures_util::future::join_all(self.tenants.iter().map(Tenant::drained));
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
        self.tenants.iter().for_each(Tenant::stop);
        let leave = futures_util::future::join_all(self.tenants.iter().map(Tenant::leave));
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
        self.tenants.iter().for_each(Tenant::stop);
    }
}

impl Health for Host {
    fn health(&self) -> HealthReport {
        let plugins: Vec<PluginHealth> = self.tenants.iter().flat_map(Tenant::health).collect();
        let store_up = self.base.store.is_available();
        let mut degraded = Vec::new();
        if !store_up {
            degraded.push("the store does not answer: triggers wait".to_owned());
        }
        let journals: Vec<usize> = self.tenants.iter().filter_map(Tenant::journal).collect();
        if !journals.is_empty() {
            let journal: usize = journals.iter().sum();
            degraded.push(format!(
                "plugins with `on-outage = \"fallback\"` go on in memory; {journal} commits wait to be replayed"
            ));
        }
        let waiting = plugins.iter().filter(|plugin| !plugin.running);
        degraded.extend(waiting.map(|plugin| format!("the plugin `{}` does not read its streams yet", plugin.name)));
        let phase = if self.base.stop.is_cancelled() { Phase::Draining } else { Phase::Running };
        HealthReport { phase, store_up, plugins, degraded }
    }
}
