//! What all tenants of a host share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::HostError;
use sandbar_core::config::{Config, TenantConfig};
use sandbar_core::manifest::Manifest;
use sandbar_fleet::Fleet;
use sandbar_runtime::engine::Engine;
use sandbar_runtime::outgoing::Outbound;
use sandbar_runtime::protocol::Protocol;
use sandbar_runtime::scheduling::quota::{HostTotals, TenantQuota};
use sandbar_store::Store;
use sandbar_triggers::http::{Routes, normal};

/// How many components are compiled at the same time; each uses all cores.
const COMPILES_MAX: usize = 2;
/// How many components of releases are read and compiled at the same time.
const FETCHES_MAX: usize = 4;

/// What all tenants of a host share.
#[derive(Debug)]
pub(super) struct HostShared {
    pub(super) config: Config,
    pub(super) engine: Engine,
    pub(super) store: Arc<dyn Store>,
    pub(super) routes: Routes,
    /// Names the consumers of this incarnation.
    pub(super) name: String,
    pub(super) protocol: Protocol,
    /// No more events are taken.
    pub(super) stop: CancellationToken,
    /// What is still running is dropped.
    pub(super) give_up: CancellationToken,
    consumers: AtomicU64,
    /// What all tenants together have used.
    totals: Arc<HostTotals>,
    /// The outgoing requests of tenants that trust the built-in authorities.
    outbound: Mutex<Option<Outbound>>,
    /// Which plugin of which tenant has which routes.
    claims: Mutex<Claims>,
    /// The fleet that the host has joined.
    pub(super) fleet: OnceLock<Fleet>,
    /// Bounds how many components of releases are in memory at the same time.
    pub(super) fetching: Semaphore,
    /// Bounds how many components are compiled at the same time.
    pub(super) compiling: Semaphore,
}

impl HostShared {
    pub(super) fn new(config: Config, engine: Engine, store: Arc<dyn Store>, protocol: Protocol) -> Self {
        Self {
            totals: HostTotals::new(config.engine.instances, config.tenants.len() > 1),
            config,
            engine,
            store,
            routes: Routes::default(),
            name: format!("{:012x}", rand::random::<u64>() >> 16),
            protocol,
            stop: CancellationToken::new(),
            give_up: CancellationToken::new(),
            consumers: AtomicU64::new(0),
            outbound: Mutex::default(),
            claims: Mutex::default(),
            fleet: OnceLock::new(),
            fetching: Semaphore::new(FETCHES_MAX),
            compiling: Semaphore::new(COMPILES_MAX),
        }
    }

    /// A name for a new consumer, which no other process and no earlier incarnation of this one has.
    pub(super) fn consumer_name(&self) -> String {
        format!("sandbar-{}-{}", self.name, self.consumers.fetch_add(1, Ordering::Relaxed))
    }

    /// What a tenant may use of this host. One of several never has all connections for commits.
    pub(super) fn quota(&self, tenant: &TenantConfig) -> Arc<TenantQuota> {
        let is_alone = self.config.tenants.len() == 1;
        let shares = !is_alone && !tenant.acl;
        let commits = shares.then(|| self.config.store.commit_connections.saturating_sub(1).max(1));
        TenantQuota::new(&tenant.name, &tenant.quota, &self.totals, commits, is_alone)
    }

    /// What the requests of a tenant go out through.
    pub(super) fn outbound(&self, tenant: &TenantConfig) -> Result<Outbound, HostError> {
        if let Some(file) = &tenant.http_ca_file {
            return Ok(Outbound::new(Some(file))?);
        }
        let mut shared = self.outbound.lock();
        let outbound = match shared.take() {
            Some(outbound) => outbound,
            None => Outbound::new(None)?,
        };
        *shared = Some(outbound.clone());
        Ok(outbound)
    }

    /// Checks that a plugin could have its routes: two plugins must not answer below the same path.
    pub(super) fn check_routes(&self, tenant: &str, manifest: &Manifest) -> Result<(), HostError> {
        free(&self.claims.lock(), &(tenant.to_owned(), manifest.name.clone()), manifest)
    }

    /// Claims the routes of a plugin, in place of those that it had.
    pub(super) fn claim_routes(&self, tenant: &str, manifest: &Manifest) -> Result<(), HostError> {
        let mut claims = self.claims.lock();
        let own = (tenant.to_owned(), manifest.name.clone());
        free(&claims, &own, manifest)?;
        claims.retain(|_, owner| *owner != own);
        claims.extend(manifest.routes().map(|route| (normal(route).to_owned(), own.clone())));
        Ok(())
    }

    /// Gives the routes of a plugin back.
    pub(super) fn give_routes_back(&self, tenant: &str, plugin: &str) {
        self.claims.lock().retain(|_, owner| (owner.0.as_str(), owner.1.as_str()) != (tenant, plugin));
    }
}

/// Which plugin of which tenant has a route.
type Claims = HashMap<String, (String, String)>;

/// Checks that no other plugin has one of the routes.
fn free(claims: &Claims, own: &(String, String), manifest: &Manifest) -> Result<(), HostError> {
    for route in manifest.routes() {
        if let Some(other) = claims.get(normal(route)).filter(|other| *other != own) {
            let name =
                if other.0 == own.0 { other.1.clone() } else { format!("{}` of the tenant `{}", other.1, other.0) };
            return Err(HostError::Route { plugin: manifest.name.clone(), route: route.to_owned(), other: name });
        }
    }
    Ok(())
}
