//! The hosts of a fleet, as they report themselves.

use serde::{Deserialize, Serialize};

/// How often a host sends a heartbeat, in milliseconds.
pub const HEARTBEAT_MS: u64 = 1000;
/// How long a host counts as alive after its last heartbeat, in milliseconds.
pub const ALIVE_MS: u64 = 3000;
/// How long a host that is not alive any more is listed, in milliseconds.
pub const LISTED_MS: u64 = 3_600_000;
/// The most faults that a host reports.
pub const FAULTS_MAX: usize = 20;

/// A host of the fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Node {
    /// Its id, another one each time that it is started.
    pub host: String,
    /// The machine's name, where it has one.
    pub machine: String,
    /// Its process there.
    pub pid: u32,
    /// Where it answers over HTTP; nothing where it does not.
    pub listen: Option<String>,
    /// The version of the program.
    pub program: String,
    /// When it was started, in milliseconds since 1970 by the store's clock.
    pub started_ms: u64,
    /// When it sent its last heartbeat, in milliseconds since 1970 by the store's clock.
    pub seen_ms: u64,
    /// How many plugins it runs.
    pub plugins: u64,
    /// What it cannot run although it should, one sentence each; up to [`FAULTS_MAX`].
    pub faults: Vec<String>,
    /// Whether its heartbeat is recent. Not kept: the reader decides.
    #[serde(default)]
    pub alive: bool,
}

/// What a host has made of the releases of one plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The host, by its id.
    pub host: String,
    /// The release that it has loaded to switch to it, or could not load.
    pub candidate: Option<HostRelease>,
    /// The release that it tries beside the active one.
    pub trial: Option<HostRelease>,
    /// The release that it runs, or cannot.
    pub active: Option<HostRelease>,
}

/// What a host has made of one release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRelease {
    /// The release's number; 0 for a version of the host's own.
    pub number: u64,
    /// Its digest.
    pub digest: String,
    /// What became of it.
    pub state: ReleaseState,
}

/// What became of a release on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ReleaseState {
    /// It is loaded, and takes events if it is the active one.
    Good,
    /// It could not be loaded.
    Failed {
        /// Why.
        reason: String,
    },
    /// The host does not have the tenant.
    Elsewhere,
}

impl Node {
    /// Whether it sent a heartbeat within [`ALIVE_MS`] before `now_ms`.
    pub fn is_alive(&self, now_ms: u64) -> bool {
        self.seen_ms.saturating_add(ALIVE_MS) > now_ms
    }

    /// Whether it sent a heartbeat within [`LISTED_MS`] before `now_ms`.
    pub fn is_listed(&self, now_ms: u64) -> bool {
        self.seen_ms.saturating_add(LISTED_MS) > now_ms
    }
}
