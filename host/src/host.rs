//! A host: the plugins of a configuration, running on one store.
//!
//! It composes the parts and owns their lives: a plugin is loaded beside the one that it replaces, takes new batches from
//! one instant on, and the old one goes when its last batch is done. It does not know how events are delivered.

mod running;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::engine::{Engine, EngineError};
use crate::http::{Health, HealthReport, Phase, PluginHealth};
use crate::manifest::{Manifest, ManifestError};
use crate::outage::Outage;
use crate::outbound::{Outbound, OutboundError};
use crate::plugin::{self, LoadError};
use crate::pool::CallError;
use crate::store::Store;
use crate::telemetry::PluginMetrics;
use crate::tiers::Tiers;
use crate::trigger::http::{Routes, normal};
use crate::trigger::stream::Protocol;
use running::Running;

/// What a plugin's manifest is called.
pub const MANIFEST_NAME: &str = "plugin.toml";

/// How long a shutdown waits at most until the locks of calls that it dropped are given back.
const RELEASE_LIMIT: Duration = Duration::from_secs(1);

/// Plugins running on one store.
#[derive(Debug)]
pub struct Host {
    config: Config,
    engine: Engine,
    store: Arc<dyn Store>,
    outage: Arc<Outage>,
    tiers: Arc<Tiers>,
    outbound: Outbound,
    routes: Routes,
    /// Names the consumers of this incarnation.
    name: String,
    consumers: AtomicU64,
    protocol: Protocol,
    plugins: Mutex<BTreeMap<String, Running>>,
    /// One plugin is loaded or replaced at a time.
    loading: tokio::sync::Mutex<()>,
    stop: CancellationToken,
    give_up: CancellationToken,
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
    #[expect(clippy::unused_async, reason = "starting may come to wait, and callers should not have to change then")]
    pub async fn start_with(config: Config, store: Arc<dyn Store>, protocol: Protocol) -> Result<Self, HostError> {
        let engine = Engine::new(&config.engine, config.engine.cache_dir.clone())?;
        let outbound = Outbound::new(config.tenant.http_ca_file.as_deref())?;
        let name = format!("{:012x}", rand::random::<u64>() >> 16);
        let outage = Outage::start(store.clone(), format!("{}sandbar:journal:{name}", config.tenant.prefix));
        let (tenant, memory) = (&config.tenant, config.cache.memory.as_u64());
        let tiers = Tiers::new(store.clone(), &tenant.name, &tenant.prefix, memory);
        Ok(Self {
            config,
            engine,
            store,
            outage: Arc::new(outage),
            tiers,
            outbound,
            routes: Routes::default(),
            name,
            consumers: AtomicU64::new(0),
            protocol,
            plugins: Mutex::default(),
            loading: tokio::sync::Mutex::default(),
            stop: CancellationToken::new(),
            give_up: CancellationToken::new(),
        })
    }

    /// The tiers of its tenant's cache.
    pub fn tiers(&self) -> &Arc<Tiers> {
        &self.tiers
    }

    /// The engine, for looking at components.
    pub fn engine(&self) -> &Engine {
        &self.engine
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
        if self.stop.is_cancelled() {
            return Err(HostError::Stopping);
        }
        self.check_routes(&manifest)?;
        let name = manifest.name.clone();
        let (engine, for_check) = (self.engine.clone(), manifest.clone());
        let version = tokio::task::spawn_blocking(move || plugin::load(&engine, &bytes, &for_check))
            .await
            .map_err(|error| HostError::Compiler { plugin: name.clone(), reason: error.to_string() })?
            .map_err(|source| HostError::Load { plugin: name.clone(), source })?;
        let digest = version.digest.to_string();
        let pool = running::pool(self, &manifest, version)
            .await
            .map_err(|source| HostError::Start { plugin: name.clone(), source })?;
        let replaced = self.plugins.lock().remove(&name);
        let version = digest.get(..12).unwrap_or_default().to_owned();
        let running = match replaced {
            Some(running) => {
                tracing::info!(plugin = name, version, "replacing");
                running.replace(self, manifest, pool).await
            }
            None => {
                tracing::info!(plugin = name, version, "loaded");
                Running::start(self, manifest, pool)
            }
        };
        self.plugins.lock().insert(name, running);
        Ok(())
    }

    /// Which plugin answers below which path, for a server.
    pub fn routes(&self) -> Routes {
        self.routes.clone()
    }

    /// Two plugins must not answer below the same path.
    fn check_routes(&self, manifest: &Manifest) -> Result<(), HostError> {
        let plugins = self.plugins.lock();
        for route in manifest.routes() {
            let has_it = |running: &Running| running.manifest().routes().any(|other| normal(other) == normal(route));
            let other = plugins.iter().find(|(name, running)| **name != manifest.name && has_it(running));
            if let Some((other, _)) = other {
                let (plugin, route, other) = (manifest.name.clone(), route.to_owned(), other.clone());
                return Err(HostError::Route { plugin, route, other });
            }
        }
        Ok(())
    }

    /// The plugins that are loaded, by name.
    pub fn plugins(&self) -> Vec<PluginStatus> {
        self.plugins.lock().iter().map(|(name, running)| running.status(name)).collect()
    }

    /// Takes no more events, finishes what was taken within the grace time, and ends.
    pub async fn shutdown(&self) -> Drained {
        self.routes.close();
        self.stop.cancel();
        let drain = async {
            // A plugin that is being replaced waits for the batches of its old triggers, within the grace time like all others.
            let _no_more_loading = self.loading.lock().await;
            let plugins = std::mem::take(&mut *self.plugins.lock());
            futures_util::future::join_all(plugins.into_values().map(Running::drained)).await
        };
        tokio::pin!(drain);
        let ended = tokio::select! {
            ended = &mut drain => ended,
            () = tokio::time::sleep(self.config.shutdown_grace) => {
                self.give_up.cancel();
                drain.await
            }
        };
        // Locks of calls that were dropped are given back in the background.
        if tokio::time::timeout(RELEASE_LIMIT, self.store.released()).await.is_err() {
            tracing::warn!("some locks were not given back; they will expire");
        }
        self.tiers.stop();
        match ended.into_iter().sum() {
            0 => Drained::Clean,
            batches => Drained::GraceElapsed { batches },
        }
    }

    /// A name for a new consumer, which no other process and no earlier incarnation of this one has.
    fn consumer_name(&self) -> String {
        format!("sandbar-{}-{}", self.name, self.consumers.fetch_add(1, Ordering::Relaxed))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A host that is dropped without a shutdown leaves its batches to be redelivered.
        self.stop.cancel();
        self.give_up.cancel();
        self.tiers.stop();
    }
}

impl Health for Host {
    fn health(&self) -> HealthReport {
        let plugins: Vec<PluginHealth> = {
            let plugins = self.plugins.lock();
            plugins.iter().map(|(name, running)| running.health(name)).collect()
        };
        let store_up = self.store.is_available();
        let mut degraded = Vec::new();
        if !store_up {
            degraded.push("the store does not answer: triggers wait".to_owned());
        }
        if let Some(journal) = self.outage.journal() {
            degraded.push(format!(
                "plugins with `on-outage = \"fallback\"` go on in memory; {journal} commits wait to be replayed"
            ));
        }
        let waiting = plugins.iter().filter(|plugin| !plugin.running);
        degraded.extend(waiting.map(|plugin| format!("the plugin `{}` does not read its streams yet", plugin.name)));
        let phase = if self.stop.is_cancelled() { Phase::Draining } else { Phase::Running };
        HealthReport { phase, store_up, plugins, degraded }
    }
}
