//! `sandbar.toml`: what a host runs, and where.
//!
//! Pure: text in, a checked [`Config`] out. Unknown keys are refused. Every default is written at its field.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;

mod quota;
mod tenant;

pub use quota::QuotaConfig;
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
    /// On whose behalf plugins run: one `[tenant]`, or several `[[tenant]]`; by default one that has all keys.
    #[serde(rename = "tenant", deserialize_with = "tenant::one_or_many")]
    pub tenants: Vec<TenantConfig>,
    /// What only `sandbar dev` reads.
    pub dev: DevConfig,
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
            tenants: vec![TenantConfig::default()],
            dev: DevConfig::default(),
        }
    }
}

/// Where the primitives live.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct StoreConfig {
    /// `redis://`, `rediss://` (TLS) or `unix://` with user, password and database as usual, or `embedded`; default
    /// `redis://127.0.0.1:6379`. The flag `--redis-url` and the variable `REDIS_URL` go before it.
    pub url: String,
    /// Private connections for commits, 1 to 64; default 4.
    pub commit_connections: u32,
    /// Shared connections for everything else that is sent, 1 to 16; default 2.
    pub shared_connections: u32,
    /// How long an answer may take before the connection is given up; default 5 s.
    #[serde(with = "humantime_serde")]
    pub response_timeout: Duration,
    /// A file with the certificates of authorities to trust instead of the built-in ones, PEM; default none.
    pub ca_file: Option<PathBuf>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".to_owned(),
            commit_connections: 4,
            shared_connections: 2,
            response_timeout: Duration::from_secs(5),
            ca_file: None,
        }
    }
}

/// Where the host answers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct HttpConfig {
    /// The address; default 127.0.0.1:7070.
    pub listen: SocketAddr,
    /// Connections at one time, 1 to 100,000; default 1,024. The next one waits to be accepted.
    pub connections: u32,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7070)), connections: 1024 }
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
    /// Where compiled components are kept; by default `sandbar` in the user's cache folder. Whoever can write there can
    /// run code in the host, so it is made for its owner alone.
    pub cache_dir: Option<PathBuf>,
    /// Instances of all plugins at once, 1 to 10,000; default 1,000. Address space of the largest memory that a plugin may ask for is
    /// reserved for each.
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
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::Syntax(error.to_string()))?;
        config.check()?;
        Ok(config)
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
        within("http.connections", self.http.connections, 1, 100_000)?;
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
        tenant::check(&self.tenants)?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
