//! What all plugins of a tenant together may use on one host.

use bytesize::ByteSize;
use serde::Deserialize;

use super::ConfigError;
use crate::manifest::Limits;

/// What all plugins of a tenant together may use on one host.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct QuotaConfig {
    /// How much of the CPU time its plugins get in comparison with other tenants while all want more than there is, 1
    /// to 1,000; default 1.
    pub weight: u32,
    /// Plugins, 1 to 10,000; default no limit.
    pub plugins: Option<u32>,
    /// Linear memory of all instances, 64 KiB to 1 TiB; default no limit. No plugin may have a larger `limits.memory`.
    pub memory: Option<ByteSize>,
    /// Instances, idle ones included, 1 to 10,000; by default half of `engine.instances` where there are several
    /// tenants, else no limit.
    pub instances: Option<u32>,
    /// Calls in flight, 1 to 10,000; default no limit.
    pub calls: Option<u32>,
    /// Events that plugins are called for in a second, 1 to 10,000,000; default no limit.
    pub events_per_second: Option<u32>,
    /// Commits under way at a time, 1 to 64; by default one less than `store.commit-connections` where there are
    /// several tenants, else no limit.
    pub commits: Option<u32>,
    /// The most writes of one call, whatever `limits.effects` is, 1 to 1,000,000; default no limit. The store makes a
    /// commit in one go, and all its clients wait for it.
    pub effects: Option<u32>,
    /// The same for `limits.effect-bytes`, up to 1 GiB; default no limit.
    pub effect_bytes: Option<ByteSize>,
    /// Writes committed in a second, 1 to 10,000,000; default no limit.
    pub effects_per_second: Option<u32>,
    /// Log lines in a second, 1 to 1,000,000; default 1,000. Excess is dropped and counted.
    pub log_lines_per_second: u32,
}

impl Default for QuotaConfig {
    fn default() -> Self {
        Self {
            weight: 1,
            plugins: None,
            memory: None,
            instances: None,
            calls: None,
            events_per_second: None,
            commits: None,
            effects: None,
            effect_bytes: None,
            effects_per_second: None,
            log_lines_per_second: 1000,
        }
    }
}

impl QuotaConfig {
    /// The limits of a plugin, cut to what the tenant has.
    #[must_use]
    pub fn bound(&self, limits: &Limits) -> Limits {
        Limits {
            effects: self.effects.map_or(limits.effects, |max| limits.effects.min(max)),
            effect_bytes: self.effect_bytes.map_or(limits.effect_bytes, |max| limits.effect_bytes.min(max)),
            ..limits.clone()
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let within = |field, value: Option<u64>, min: u64, max: u64| match value {
            Some(value) if !(min..=max).contains(&value) => {
                Err(ConfigError::Value { field, reason: format!("{value} is not within {min} to {max}") })
            }
            Some(_) | None => Ok(()),
        };
        let number = |value: Option<u32>| value.map(u64::from);
        let bytes = |value: Option<ByteSize>| value.map(|value| value.as_u64());
        within("tenant.quota.weight", Some(self.weight.into()), 1, 1000)?;
        within("tenant.quota.plugins", number(self.plugins), 1, 10_000)?;
        within("tenant.quota.memory", bytes(self.memory), 64 << 10, 1 << 40)?;
        within("tenant.quota.instances", number(self.instances), 1, 10_000)?;
        within("tenant.quota.calls", number(self.calls), 1, 10_000)?;
        within("tenant.quota.events-per-second", number(self.events_per_second), 1, 10_000_000)?;
        within("tenant.quota.commits", number(self.commits), 1, 64)?;
        within("tenant.quota.effects", number(self.effects), 1, 1_000_000)?;
        within("tenant.quota.effect-bytes", bytes(self.effect_bytes), 1, 1 << 30)?;
        within("tenant.quota.effects-per-second", number(self.effects_per_second), 1, 10_000_000)?;
        within("tenant.quota.log-lines-per-second", Some(self.log_lines_per_second.into()), 1, 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::manifest::Limits;

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| Config::parse(&format!("[tenant.quota]\n{text}")).unwrap_err().to_string();
        assert!(error("weight = 0").contains("`tenant.quota.weight`: 0 is not within 1 to 1000"));
        assert!(error("memory = \"1KiB\"").contains("tenant.quota.memory"));
        assert!(error("commits = 65").contains("tenant.quota.commits"));
        assert!(error("comits = 1").contains("comits"));
        let limits = Config::parse("[tenant.quota]\neffects = 7").unwrap().tenants[0].quota.bound(&Limits::default());
        assert_eq!((limits.effects, limits.keys), (7, 10_000));
    }
}
