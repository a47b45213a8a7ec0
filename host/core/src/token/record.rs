//! What is kept of a token.

use serde::{Deserialize, Serialize};

use super::{Role, TokenHash};

/// The longest name of a token, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// Whom a token lets act: for one tenant, or for all of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Scope {
    /// The whole host: `*`.
    Host,
    /// One tenant.
    Tenant(String),
}

impl From<String> for Scope {
    fn from(text: String) -> Self {
        if text == "*" { Self::Host } else { Self::Tenant(text) }
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Host => "*".to_owned(),
            Scope::Tenant(name) => name,
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host => f.write_str("*"),
            Self::Tenant(name) => f.write_str(name),
        }
    }
}

impl Scope {
    /// Whether it includes a tenant.
    pub fn includes(&self, tenant: &str) -> bool {
        match self {
            Self::Host => true,
            Self::Tenant(name) => name == tenant,
        }
    }
}

/// What is kept of a token: everything but the token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// What it is for, in the words of its maker; at most 128 bytes.
    pub name: String,
    /// Whom it lets act.
    pub tenant: Scope,
    /// What it may be used for.
    pub role: Role,
    /// Its hash.
    pub hash: TokenHash,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it ends; none where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// The secret before the present one, while it still holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
}

/// A secret that was replaced and still holds for a while.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Previous {
    /// Its hash.
    pub hash: TokenHash,
    /// Until when, in milliseconds since 1970.
    pub until_ms: u64,
}

impl Record {
    /// Whether this is the hash of its secret, or of the one before while that holds. Compares twice in any case.
    pub fn is_of(&self, hash: &TokenHash, now_ms: u64) -> bool {
        let (before, until_ms) =
            self.previous.as_ref().map_or((self.hash, 0), |previous| (previous.hash, previous.until_ms));
        let (is_now, was_before) = (self.hash.is(hash), before.is(hash));
        is_now | (was_before & (now_ms < until_ms))
    }

    /// Whether it has ended.
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_secret_before_holds_for_its_time() {
        let (new, old) = (TokenHash::of("new"), TokenHash::of("old"));
        let record = Record {
            name: "ci".to_owned(),
            tenant: Scope::Host,
            role: Role::Read,
            hash: new,
            created_ms: 0,
            expires_ms: Some(100),
            previous: Some(Previous { hash: old, until_ms: 50 }),
        };
        assert!(record.is_of(&new, 60) && record.is_of(&old, 49));
        assert!(!record.is_of(&old, 50) && !record.is_of(&TokenHash::of("x"), 0));
        assert!(!record.is_expired(99) && record.is_expired(100));
        let text = serde_json::to_string(&record).unwrap();
        assert!(serde_json::from_str::<Record>(&text).unwrap().is_of(&old, 1));
        assert!(!format!("{record:?}").contains(&String::from(new)));
    }

    #[test]
    fn a_scope_is_a_tenant_or_all() {
        assert!(Scope::Host.includes("a") && Scope::from("a".to_owned()).includes("a"));
        assert!(!Scope::from("a".to_owned()).includes("b") && Scope::from("*".to_owned()) == Scope::Host);
    }

    proptest! {
        #[test]
        fn whatever_is_kept_is_read_or_refused(text in ".{0,200}") {
            let _ = serde_json::from_str::<Record>(&text);
        }
    }
}
