//! Which other hosts a host runs the same plugins as.

use serde::Deserialize;

use super::ConfigError;

/// The most bytes in the prefix of a fleet.
const PREFIX_BYTES_MAX: usize = 128;

/// Which other hosts a host runs the same plugins as.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct FleetConfig {
    /// Whether `sandbar run` runs what is deployed to the fleet; default true.
    pub join: bool,
    /// What goes before the fleet's own keys, `sandbar:fleet:...`; default nothing. Hosts with the same store and
    /// prefix are one fleet.
    pub prefix: String,
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self { join: true, prefix: String::new() }
    }
}

impl FleetConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.prefix.chars().any(char::is_control) || self.prefix.len() > PREFIX_BYTES_MAX {
            let reason = format!("it is longer than {PREFIX_BYTES_MAX} bytes or has a control character");
            return Err(ConfigError::Value { field: "fleet.prefix", reason });
        }
        Ok(())
    }
}
