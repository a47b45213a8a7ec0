//! Where the primitives live.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::secret::{SecretError, Setting, Sources, without_secrets};

/// Where the primitives live.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct StoreConfig {
    /// `redis://`, `rediss://` (TLS) or `unix://` with user, password and database as usual, or `embedded`; default
    /// `redis://127.0.0.1:6379`. The flag `--redis-url` and the variable `REDIS_URL` go before it.
    #[serde(skip)]
    pub url: String,
    /// What is written for `url`: the address, or the variable or file that it stands in. [`StoreConfig::resolve`]
    /// reads it.
    #[serde(rename = "url")]
    pub written_url: Setting,
    /// The password, in place of one in the address; default none.
    pub password: Option<Setting>,
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

/// Where the store is unless the configuration says so.
const URL: &str = "redis://127.0.0.1:6379";

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            url: URL.to_owned(),
            written_url: URL.into(),
            password: None,
            commit_connections: 4,
            shared_connections: 2,
            response_timeout: Duration::from_secs(5),
            ca_file: None,
        }
    }
}

impl fmt::Debug for StoreConfig {
    /// Without the secrets of its address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreConfig")
            .field("url", &without_secrets(&self.url))
            .field("written_url", &self.written_url)
            .field("password", &self.password)
            .field("commit_connections", &self.commit_connections)
            .field("shared_connections", &self.shared_connections)
            .field("response_timeout", &self.response_timeout)
            .field("ca_file", &self.ca_file)
            .finish()
    }
}

impl StoreConfig {
    /// Takes the address as it is written, where it is.
    pub(super) fn take_url(&mut self) {
        if let Setting::Text(url) = &self.written_url {
            url.expose().clone_into(&mut self.url);
        }
    }

    /// Reads what it refers to.
    pub(super) fn resolve(&mut self, sources: &dyn Sources) -> Result<(), SecretError> {
        if !matches!(self.written_url, Setting::Text(_)) {
            self.written_url.resolve("store.url", None, sources)?.expose().clone_into(&mut self.url);
        }
        if let Some(password) = &mut self.password {
            *password = Setting::Text(password.resolve("store.password", None, sources)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn the_address_is_shown_without_its_password() {
        let config = Config::parse("[store]\nurl = \"redis://u:hunter2@h\"\npassword = \"hunter2\"").unwrap();
        assert_eq!(config.store.url, "redis://u:hunter2@h");
        let shown = format!("{config:?}");
        assert!(shown.contains("redis://h") && !shown.contains("hunter2"), "{shown}");
    }
}
