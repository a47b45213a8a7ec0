//! What a plugin says about its tiered reads.

use serde::Deserialize;

/// Tiered reads (`cache.fetch`) of a plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct CacheSection {
    /// The plugin that loads what is missing; it must run on the same host. By default the plugin itself, where it
    /// exports a loader.
    pub loader: Option<String>,
}
