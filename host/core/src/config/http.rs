//! Where the host answers, and to whom.

use std::net::{Ipv4Addr, SocketAddr};

use serde::Deserialize;

use super::ConfigError;
use crate::secret::{SecretError, Setting, Sources};
use crate::token::{Record, Role, Scope, TokenHash, TokenId};

/// The most tokens in a configuration.
const TOKENS_MAX: usize = 10_000;

/// Where the host answers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct HttpConfig {
    /// The address; default 127.0.0.1:7070.
    pub listen: SocketAddr,
    /// Connections at one time, 1 to 100,000; default 1,024. The next one waits to be accepted.
    pub connections: u32,
    /// Tokens of the API beside those in the store: any number of `[[http.token]]`; default none.
    #[serde(rename = "token")]
    pub tokens: Vec<TokenConfig>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7070)), connections: 1024, tokens: Vec::new() }
    }
}

/// A token of the API, as `sandbar token create --for-config` writes it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TokenConfig {
    /// Its public part.
    pub id: TokenId,
    /// What it is for.
    pub name: String,
    /// The tenant that it lets act for, or `*` for all.
    pub tenant: Scope,
    /// What it may be used for: `read`, `operate` or `deploy`.
    pub role: Role,
    /// The SHA-256 of the token in hexadecimal, or where it stands.
    pub hash: Setting,
}

impl HttpConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |field, reason| Err(ConfigError::Value { field, reason });
        if !(1..=100_000).contains(&self.connections) {
            return refuse("http.connections", format!("{} is not within 1 to 100000", self.connections));
        }
        if self.tokens.len() > TOKENS_MAX {
            return refuse("http.token", format!("there are more than {TOKENS_MAX}"));
        }
        let mut ids: Vec<&TokenId> = self.tokens.iter().map(|token| &token.id).collect();
        ids.sort_unstable();
        if let Some([id, _]) = ids.windows(2).find(|pair| pair.first() == pair.last()) {
            return refuse("http.token.id", format!("two tokens have the id `{id}`"));
        }
        for token in &self.tokens {
            if let Setting::Text(_) = token.hash
                && let Err(reason) = token.hash()
            {
                return refuse("http.token.hash", format!("{reason}, and that of `{}` is none", token.id));
            }
        }
        Ok(())
    }
}

impl TokenConfig {
    /// Reads what it refers to.
    pub(super) fn resolve(&mut self, sources: &dyn Sources) -> Result<(), SecretError> {
        let setting = format!("http.token.hash` of `{}", self.id);
        let source_name = self.hash.to_string();
        self.hash = Setting::Text(self.hash.resolve(&setting, None, sources)?);
        self.hash().map(drop).map_err(|reason| SecretError { setting, source_name, reason: format!("but {reason}") })
    }

    /// What the API needs of it; none where its hash was not read yet, or is none.
    pub fn record(&self) -> Option<Record> {
        Some(Record {
            name: self.name.clone(),
            tenant: self.tenant.clone(),
            role: self.role,
            hash: self.hash().ok()?,
            created_ms: 0,
            expires_ms: None,
            previous: None,
        })
    }

    fn hash(&self) -> Result<TokenHash, String> {
        match &self.hash {
            Setting::Text(text) => TokenHash::try_from(text.expose().to_owned()),
            Setting::Env(_) | Setting::File(_) => Err("it was not read yet".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn token(id: &str, hash: &str) -> String {
        format!("[[http.token]]\nid = \"{id}\"\nname = \"ci\"\ntenant = \"*\"\nrole = \"deploy\"\nhash = {hash}\n")
    }

    #[test]
    fn tokens_are_checked() {
        let hash = format!("\"{}\"", "ab".repeat(32));
        let good = token("0123456789abcdef", &hash);
        let config = Config::parse(&good).unwrap();
        assert!(config.http.tokens[0].record().is_some());
        let error = |text: &str| Config::parse(text).unwrap_err().to_string();
        assert!(error(&token("0123456789ABCDEF", &hash)).contains("16 lower-case hexadecimal digits"));
        assert!(error(&token("0123456789abcdef", "\"abc\"")).contains("http.token.hash"));
        assert!(error(&format!("{good}{good}")).contains("two tokens have the id"));
        assert!(error(&good.replace("deploy", "root")).contains("role"));
        let later = Config::parse(&token("0123456789abcdef", "{ env = \"HASH\" }")).unwrap();
        assert!(later.http.tokens[0].record().is_none());
    }
}
