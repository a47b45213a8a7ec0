//! `sandbar.toml`: what a host runs, and where.
//!
//! Pure: text in, a checked [`Config`] out. Unknown keys are refused. Every default is written at its field.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;

use crate::secret::{SecretError, Sources};

mod fleet;
mod http;
mod quota;
mod store;
mod tenant;

pub use fleet::FleetConfig;
pub use http::{HttpConfig, TokenConfig};
pub use quota::QuotaConfig;
pub use store::StoreConfig;
pub use tenant::{TENANTS_MAX, TenantConfig};

/// The configuration of a host.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// Folders with a `plugin.toml`, relative to the configuration file; default none. They are the first tenant's.
    pub plugins: Vec<PathBuf>,
    /// How long a shutdown may take before what is still running is dropped; default 10 s.
    #[serde(with = "humantime_serde")]
    pub shutdown_grace: Duration,
    /// Where the primitives live.
    pub store: StoreConfig,
    /// Where the host answers.
    pub http: HttpConfig,
    /// What is kept in memory.
    pub cache: CacheConfig,
    /// How components run.
    pub engine: EngineConfig,
    /// Which other hosts it runs the same plugins as.
    pub fleet: FleetConfig,
    /// On whose scope plugins run: one `[tenant]`, or several `[[tenant]]`; by default one that has all keys.
    #[serde(rename = "tenant", deserialize_with = "tenant::one_or_many")]
    pub tenants: Vec<TenantConfig>,
    /// What only `sandbar dev` reads.
    pub dev: DevConfig,
    /// What the paths of secrets are relative to: the folder of the configuration; by default that in which the
    /// process runs.
    #[serde(skip)]
    pub folder: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            plugins: Vec::new(),
            shutdown_grace: Duration::from_secs(10),
            store: StoreConfig::default(),
            http: HttpConfig::default(),
            cache: CacheConfig::default(),
            engine: EngineConfig::default(),
            fleet: FleetConfig::default(),
            tenants: vec![TenantConfig::default()],
            dev: DevConfig::default(),
            folder: PathBuf::new(),
        }
    }
}

/// What tiered reads (`cache.fetch`) keep in the memory of a host.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct CacheConfig {
    /// Bytes of all values of a tenant, with their keys and an overhead, 64 KiB to 64 GiB; default 64 MiB.
    pub memory: ByteSize,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { memory: ByteSize::mib(64) }
    }
}

/// How components run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct EngineConfig {
    /// Where compiled components are kept; by default `sandbar` in the user's cache folder. A process that can write
    /// there can run code in the host, so only its owner may write to it.
    pub cache_dir: Option<PathBuf>,
    /// Instances of all plugins at once, 1 to 10,000; default 1,000. Address space of the largest memory that a
    /// plugin may ask for is reserved for each.
    pub instances: u32,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { cache_dir: None, instances: 1000 }
    }
}

/// What only `sandbar dev` reads.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct DevConfig {
    /// Streams that are fed while it runs.
    pub feed: Vec<FeedConfig>,
}

/// What `sandbar dev` appends to a stream: JSON lines, each one object whose members become the fields of an entry.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FeedConfig {
    /// The stream, without the tenant's prefix.
    pub stream: String,
    /// A file of JSON lines, relative to the configuration file; it is repeated. Either this or `command`.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// A program that prints JSON lines, run in the folder of the configuration file. Either this or `file`.
    #[serde(default)]
    pub command: Option<Vec<String>>,
    /// Events per second, 1 to 1,000,000; default 100.
    #[serde(default = "FeedConfig::default_rate")]
    pub rate: u32,
}

impl FeedConfig {
    fn default_rate() -> u32 {
        100
    }
}

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It is not the TOML that is expected; the text shows the place.
    #[error("{0}")]
    Syntax(String),
    /// A value is outside its bounds.
    #[error("`{field}`: {reason}")]
    Value {
        /// Which value.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Config {
    /// Reads and checks a configuration.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|error| ConfigError::Syntax(syntax(text, &error)))?;
        config.check()?;
        config.store.take_url();
        Ok(config)
    }

    /// Reads what it refers to, in the environment and in files. Blocks.
    pub fn resolve(&mut self, sources: &dyn Sources) -> Result<(), SecretError> {
        self.store.resolve(sources)?;
        self.http.tokens.iter_mut().try_for_each(|token| token.resolve(sources))
    }

    /// The folders of all plugins, with the tenants that they belong to.
    pub fn folders(&self) -> impl Iterator<Item = (&TenantConfig, &PathBuf)> {
        let first = self.tenants.first().into_iter();
        let shared = first.flat_map(|tenant| self.plugins.iter().map(move |folder| (tenant, folder)));
        let own = self.tenants.iter().flat_map(|tenant| tenant.plugins.iter().map(move |folder| (tenant, folder)));
        shared.chain(own)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let within = |field, value: u32, min: u32, max: u32| {
            if (min..=max).contains(&value) {
                return Ok(());
            }
            Err(ConfigError::Value { field, reason: format!("{value} is not within {min} to {max}") })
        };
        within("store.commit-connections", self.store.commit_connections, 1, 64)?;
        within("store.shared-connections", self.store.shared_connections, 1, 16)?;
        self.http.check()?;
        within("engine.instances", self.engine.instances, 1, 10_000)?;
        if !(Duration::from_millis(100)..=Duration::from_secs(600)).contains(&self.store.response_timeout) {
            let reason = "it is not within 100ms to 10m".to_owned();
            return Err(ConfigError::Value { field: "store.response-timeout", reason });
        }
        if !(64 << 10..=64 << 30).contains(&self.cache.memory.as_u64()) {
            let reason = "it is not within 64KiB to 64GiB".to_owned();
            return Err(ConfigError::Value { field: "cache.memory", reason });
        }
        if self.shutdown_grace > Duration::from_secs(3600) {
            let reason = "it is longer than 1h".to_owned();
            return Err(ConfigError::Value { field: "shutdown-grace", reason });
        }
        self.fleet.check()?;
        tenant::check(&self.tenants, &self.fleet.prefix)?;
        for feed in &self.dev.feed {
            within("dev.feed.rate", feed.rate, 1, 1_000_000)?;
            if feed.file.is_some() == feed.command.is_some() {
                let reason = format!("the feed of `{}` needs either `file` or `command`", feed.stream);
                return Err(ConfigError::Value { field: "dev.feed", reason });
            }
        }
        Ok(())
    }
}

/// What is wrong, with its place: the line is shown, unless an address or a password may be on it.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = text.get(..start).unwrap_or_default();
    let line = text.lines().nth(before.matches('\n').count()).unwrap_or_default();
    if !line.contains("://") && !line.contains("password") {
        return error.to_string();
    }
    let number = before.matches('\n').count() + 1;
    format!("TOML parse error at line {number}, which is not shown: it may have a password in it\n{}", error.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_a_password_is_not_shown() {
        let error = |text: &str| Config::parse(text).unwrap_err().to_string();
        for text in [
            "[store]\nurl = \"redis://u:hunter2@h",
            "[store]\nurl = \"redis://u:hunter2@h\" x",
            "[store]\npassword = [\"hunter2\"]",
            "[store]\nurl = [\"redis://u:hunter2@h\"]",
        ] {
            let shown = error(text);
            assert!(shown.contains("line 2") && !shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(Config::parse("").unwrap(), Config::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| Config::parse(text).unwrap_err().to_string();
        assert!(error("plugin = []").contains("unknown field `plugin`"));
        assert!(error("[store]\ncommit-connections = 0").contains("store.commit-connections"));
        assert!(error("[[dev.feed]]\nstream = \"s\"").contains("either `file` or `command`"));
        assert!(error("[http]\nlisten = \"here\"").contains("listen"));
    }
}
