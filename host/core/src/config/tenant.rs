//! On whose scope plugins run.

use std::fmt;
use std::path::PathBuf;

use serde::de::{MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};

use super::{ConfigError, QuotaConfig};
use crate::address::Block;
use crate::grants::{RESERVED_PREFIX, TenantGrants};
use crate::pattern::Pattern;

/// The most tenants of a host.
pub const TENANTS_MAX: usize = 10_000;
/// The most bytes in a tenant's prefix.
const PREFIX_BYTES_MAX: usize = 128;

/// On whose scope plugins run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct TenantConfig {
    /// Its name, in metrics, logs and the API: 1 to 64 lower-case letters, digits and dashes; default `default`.
    pub name: String,
    /// What every key, stream and channel of the tenant begins with; default nothing, so that existing keys stay as
    /// they are. Where there are several tenants, none may be the beginning of another.
    pub prefix: String,
    /// Folders with a `plugin.toml`, relative to the configuration file; default none. Those of `plugins` outside of
    /// a tenant are the first tenant's.
    pub plugins: Vec<PathBuf>,
    /// What its plugins may be given; by default everything below the prefix, and no HTTP.
    pub grants: TenantGrants,
    /// What its plugins together may use on one host.
    pub quota: QuotaConfig,
    /// Whether the store itself keeps the tenant below its prefix, by an ACL user of its own and connections of its
    /// own; default false. Needs a prefix, and a user of the host that may change users.
    pub acl: bool,
    /// Variables of the environment that the configuration of its plugins may refer to, such as `ACME_*`; default none.
    pub env: Vec<Pattern>,
    /// Files that it may refer to, such as `secrets/*`, as they are written there: relative to the configuration
    /// file; default none.
    pub secret_files: Vec<Pattern>,
    /// Addresses that are not public to which granted hosts may lead, such as `10.0.0.0/8`; default none.
    pub http_private: Vec<Block>,
    /// A file with the certificates of authorities that hosts are trusted by instead of the built-in ones, PEM;
    /// default none.
    pub http_ca_file: Option<PathBuf>,
}

impl Default for TenantConfig {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            prefix: String::new(),
            plugins: Vec::new(),
            grants: TenantGrants::default(),
            quota: QuotaConfig::default(),
            acl: false,
            env: Vec::new(),
            secret_files: Vec::new(),
            http_private: Vec::new(),
            http_ca_file: None,
        }
    }
}

impl TenantConfig {
    fn check(&self, fleet_prefix: &str) -> Result<(), ConfigError> {
        let refuse = |field, reason| Err(ConfigError::Value { field, reason });
        let is_plain = self.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !(1..=64).contains(&self.name.len()) || !is_plain {
            let reason = format!("`{}` is not 1 to 64 lower-case letters, digits and dashes", self.name);
            return refuse("tenant.name", reason);
        }
        if let Some(own) = [String::new(), fleet_prefix.to_owned()]
            .map(|prefix| format!("{prefix}{RESERVED_PREFIX}"))
            .iter()
            .find(|own| reaches(&self.prefix, own))
        {
            let prefix = &self.prefix;
            let reason = format!(
                "with `{prefix}` plugins would reach the hosts' own keys, which begin with `{own}`: choose another"
            );
            return refuse("tenant.prefix", reason);
        }
        if self.prefix.chars().any(char::is_control) || self.prefix.len() > PREFIX_BYTES_MAX {
            let reason = format!("it is longer than {PREFIX_BYTES_MAX} bytes or has a control character");
            return refuse("tenant.prefix", reason);
        }
        if self.acl && self.prefix.is_empty() {
            let reason = format!("`{}` has `acl = true`, but no prefix to be kept below", self.name);
            return refuse("tenant.acl", reason);
        }
        if self.acl && self.prefix.contains(char::is_whitespace) {
            let reason = format!("`{}` has `acl = true`, so its prefix must not have spaces", self.name);
            return refuse("tenant.acl", reason);
        }
        self.quota.check()
    }
}

/// Whether a plugin of a tenant with such a prefix could name one of the keys that begin with `own`. Names that begin
/// with [`RESERVED_PREFIX`] are denied to it.
fn reaches(prefix: &str, own: &str) -> bool {
    let rest = own.strip_prefix(prefix);
    prefix.starts_with(own) || rest.is_some_and(|rest| !rest.starts_with(RESERVED_PREFIX))
}

/// Checks each tenant, and that none can reach into another.
pub(super) fn check(tenants: &[TenantConfig], fleet_prefix: &str) -> Result<(), ConfigError> {
    if !(1..=TENANTS_MAX).contains(&tenants.len()) {
        let reason = format!("there are {} tenants; 1 to {TENANTS_MAX} are allowed", tenants.len());
        return Err(ConfigError::Value { field: "tenant", reason });
    }
    tenants.iter().try_for_each(|tenant| tenant.check(fleet_prefix))?;
    let mut names: Vec<&str> = tenants.iter().map(|tenant| tenant.name.as_str()).collect();
    names.sort_unstable();
    if let Some([name, _]) = names.windows(2).find(|pair| pair.first() == pair.last()) {
        return Err(ConfigError::Value { field: "tenant.name", reason: format!("two tenants are called `{name}`") });
    }
    // In order, a prefix stands directly before those that begin with it, or before others that do.
    let mut prefixes: Vec<&TenantConfig> = tenants.iter().collect();
    prefixes.sort_unstable_by(|a, b| a.prefix.cmp(&b.prefix));
    for pair in prefixes.windows(2) {
        if let [outer, inner] = pair
            && inner.prefix.starts_with(&outer.prefix)
        {
            let (a, b) = (&outer.name, &inner.name);
            let reason = format!(
                "that of `{a}` (`{}`) is the beginning of that of `{b}` (`{}`), so `{a}` would reach into `{b}`: end prefixes with a colon",
                outer.prefix, inner.prefix
            );
            return Err(ConfigError::Value { field: "tenant.prefix", reason });
        }
    }
    Ok(())
}

/// Reads one table or an array of them: `[tenant]` or `[[tenant]]`.
pub(super) fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TenantConfig>, D::Error> {
    struct Tenants;

    impl<'de> Visitor<'de> for Tenants {
        type Value = Vec<TenantConfig>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table `[tenant]`, or several `[[tenant]]`")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            Ok(vec![TenantConfig::deserialize(MapAccessDeserializer::new(map))?])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut tenants = Vec::new();
            while let Some(tenant) = seq.next_element()? {
                tenants.push(tenant);
                if tenants.len() > TENANTS_MAX {
                    break;
                }
            }
            Ok(tenants)
        }
    }

    deserializer.deserialize_any(Tenants)
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn no_prefix_reaches_the_hosts_own_keys() {
        let parse = |prefix: &str| Config::parse(&format!("[tenant]\nprefix = \"{prefix}\""));
        for prefix in ["s", "sand", "sandbar", "sandbar:", "sandbar:fleet:"] {
            let error = parse(prefix).unwrap_err().to_string();
            assert!(error.contains("the hosts' own keys"), "{error}");
        }
        assert!(parse("").is_ok() && parse("sandbox:").is_ok() && parse("x").is_ok());
        let fleet =
            |prefix: &str| Config::parse(&format!("[fleet]\nprefix = \"ops:\"\n[tenant]\nprefix = \"{prefix}\""));
        for prefix in ["", "o", "ops:s", "ops:sandbar:", "ops:sandbar:x", "sand"] {
            assert!(fleet(prefix).unwrap_err().to_string().contains("own keys"), "{prefix}");
        }
        assert!(fleet("ops:").is_ok() && fleet("acme:").is_ok());
    }

    #[test]
    fn there_may_be_several() {
        let config =
            Config::parse("[[tenant]]\nname = \"a\"\nprefix = \"a:\"\n[[tenant]]\nname = \"b\"\nprefix = \"b:\"")
                .unwrap();
        assert_eq!(config.tenants.iter().map(|tenant| tenant.prefix.as_str()).collect::<Vec<_>>(), ["a:", "b:"]);
        assert_eq!(Config::parse("[tenant]\nname = \"one\"").unwrap().tenants[0].name, "one");
    }

    #[test]
    fn none_reaches_into_another() {
        let error = |a: &str, b: &str| {
            let text =
                format!("[[tenant]]\nname = \"a\"\nprefix = \"{a}\"\n[[tenant]]\nname = \"b\"\nprefix = \"{b}\"");
            Config::parse(&text).unwrap_err().to_string()
        };
        assert!(error("x", "x").contains("tenant.prefix"));
        assert!(error("xy:", "x").contains("that of `b` (`x`) is the beginning of that of `a` (`xy:`)"));
        assert!(error("", "b:").contains("tenant.prefix"));
        let twice = "[[tenant]]\nprefix = \"a:\"\n[[tenant]]\nprefix = \"b:\"";
        assert!(Config::parse(twice).unwrap_err().to_string().contains("two tenants are called `default`"));
        assert!(Config::parse("[tenant]\nnmae = \"a\"").unwrap_err().to_string().contains("nmae"));
        assert!(Config::parse("tenant = []").unwrap_err().to_string().contains("0 tenants"));
    }
}
