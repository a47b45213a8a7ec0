//! Why the fleet did not do what was asked.

use super::HostFailure;
use sandbar_core::manifest::ManifestError;
use sandbar_runtime::plugin::COMPONENT_BYTES_MAX;
use sandbar_store::{CommitError, StoreError};

/// Why the fleet did not do what was asked. Texts name the release or the host; the caller knows the plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FleetError {
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The change was not written, or that is not known.
    #[error("the change was not written: {0}")]
    Commit(CommitError),
    /// What the store keeps is not what a host of this version writes.
    #[error("`{key}` does not hold what it should: {reason}")]
    Damaged {
        /// The key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The manifest is refused.
    #[error("the manifest is refused: {0}")]
    Manifest(ManifestError),
    /// The text of the manifest is too large.
    #[error("the manifest has {0} bytes; at most {max} are allowed", max = super::MANIFEST_BYTES_MAX)]
    ManifestTooLarge(usize),
    /// The component is too large.
    #[error("the component has {0} bytes; at most {COMPONENT_BYTES_MAX} are allowed")]
    TooLarge(usize),
    /// There are too many plugins.
    #[error("the fleet has {max} plugins, which is all that it may have", max = super::PLUGINS_MAX)]
    TooMany,
    /// Another deploy is being prepared.
    #[error("release {number} of `{by}` is being prepared by the hosts: try again when it is done, or call it off")]
    Busy {
        /// That release.
        number: u64,
        /// Who deployed it.
        by: String,
    },
    /// Another release is on trial.
    #[error("release {number} of `{by}` is on trial: promote it or end its trial first")]
    Trying {
        /// That release.
        number: u64,
        /// Who deployed it.
        by: String,
    },
    /// Others changed the plugin again and again.
    #[error("the plugin was changed by another client at the same time")]
    Changed,
    /// There is no such plugin.
    #[error("no plugin `{plugin}` of the tenant `{tenant}` was ever deployed")]
    NoPlugin {
        /// The tenant.
        tenant: String,
        /// The plugin.
        plugin: String,
    },
    /// No release has such a digest.
    #[error("no release in the history has a digest that begins with `{to}`")]
    NoRelease {
        /// What was asked for.
        to: String,
    },
    /// Several versions have such a digest.
    #[error("the digests of several releases begin with `{to}`: name more of it")]
    Ambiguous {
        /// What was asked for.
        to: String,
    },
    /// Nothing is on trial.
    #[error("no release is on trial")]
    NoTrial,
    /// Nothing is deployed.
    #[error("no release is active")]
    NothingBefore,
    /// A release could not be loaded by these hosts; nothing was switched.
    #[error("{}", refused(.hosts))]
    Refused {
        /// The release.
        number: u64,
        /// Which hosts, and why.
        hosts: Vec<HostFailure>,
    },
    /// The release was ended by an operator while it was waited for.
    #[error("release {number} was ended before it became active: {why}")]
    Ended {
        /// The release.
        number: u64,
        /// Why, in words.
        why: String,
    },
}

fn refused(hosts: &[HostFailure]) -> String {
    let hosts: Vec<String> =
        hosts.iter().map(|HostFailure { host, reason }| format!("host {host}: {reason}")).collect();
    format!("it was not loaded everywhere, so nothing was switched: {}", hosts.join("; "))
}
