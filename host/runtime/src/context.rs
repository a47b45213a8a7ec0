//! Who a plugin is, what it may do, and what its calls use.

use std::sync::Arc;

use sandbar_core::grants::Policy;
use sandbar_core::manifest::{HealthSection, Limits};
use sandbar_core::secret::Secret;
use sandbar_store::Store;

use crate::outage::Outage;
use crate::outgoing::Outbound;
use crate::protocol::Protocol;
use crate::scheduling::quota::PluginQuota;
use crate::tiered_cache::TieredCache;

/// Who a plugin is and what it may do; shared by all its instances.
#[derive(Debug, Clone)]
pub struct PluginContext {
    /// The tenant's name.
    pub tenant: String,
    /// What every name that the plugin uses is prefixed with.
    pub prefix: String,
    /// The host's name, unique to this incarnation.
    pub host: String,
    /// The plugin's name.
    pub plugin: String,
    /// The version: the SHA-256 of the component, in hexadecimal.
    pub version: String,
    /// What it may touch.
    pub policy: Policy,
    /// What it may use.
    pub limits: Limits,
    /// What it must keep to as a new version.
    pub health: HealthSection,
    /// What it reads through `wasi:config/store`.
    pub config: Vec<(String, Secret)>,
    /// Where its primitives live.
    pub store: Arc<dyn Store>,
    /// What its HTTP requests go out through.
    pub outbound: Outbound,
    /// What stands in for the store while it is away; none where the plugin's calls fail then.
    pub outage: Option<Arc<Outage>>,
    /// Where its tiered reads go.
    pub tiered_cache: Arc<TieredCache>,
    /// The plugin that loads what they miss.
    pub loader: Option<String>,
    /// What its instances order their tables by; at random where none.
    pub seed: Option<u128>,
    /// The protections of the host.
    pub protocol: Protocol,
    /// What it and its tenant have used of this host.
    pub quota: Arc<PluginQuota>,
}
