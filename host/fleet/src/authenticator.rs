//! Lets callers in, or does not.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use crate::token_registry::Registry;
use sandbar_core::token::{Presented, Record, Role, Scope, TokenHash, TokenId};
use sandbar_store::StoreError;

/// How long a record is used before it is read again: a token that was revoked or rotated anywhere is refused here
/// after so long.
pub const CACHE_TTL: Duration = Duration::from_secs(2);
/// How many records are remembered, those that are not there included.
const CACHE_ENTRIES_MAX: u64 = 10_000;
/// How often it is written down that a token was used.
const USED_INTERVAL: Duration = Duration::from_secs(60);

/// Lets callers in, or does not.
#[derive(Debug)]
pub struct Authenticator {
    configured: HashMap<TokenId, Arc<Record>>,
    registry: Registry,
    cache: Cache<TokenId, Option<Arc<Record>>>,
    used: Cache<TokenId, ()>,
    /// What is compared with where there is no record.
    nobody: Arc<Record>,
}

/// Who calls.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The token's id.
    pub id: TokenId,
    /// What the token is for, in the words of its maker.
    pub name: String,
    /// For whom the token lets act.
    pub scope: Scope,
    /// What it may be used for.
    pub role: Role,
}

/// Why a request is not authenticated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No token came.
    #[error("there is no token")]
    Absent,
    /// What came is no token.
    #[error("that is no token")]
    Malformed,
    /// There is no such token: there never was, or it was revoked.
    #[error("there is no such token")]
    Unknown(TokenId),
    /// The id is known, but the secret is another one.
    #[error("the secret is wrong")]
    Wrong(TokenId),
    /// It has ended.
    #[error("it has expired")]
    Expired(TokenId),
    /// The store cannot be asked now.
    #[error("the store cannot be asked")]
    Unavailable(TokenId),
}

impl Refused {
    /// One word for metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Malformed => "malformed",
            Self::Unknown(_) => "unknown",
            Self::Wrong(_) => "wrong",
            Self::Expired(_) => "expired",
            Self::Unavailable(_) => "unavailable",
        }
    }

    /// The id of the token that came.
    pub fn id(&self) -> Option<&TokenId> {
        match self {
            Self::Absent | Self::Malformed => None,
            Self::Unknown(id) | Self::Wrong(id) | Self::Expired(id) | Self::Unavailable(id) => Some(id),
        }
    }
}

impl Authenticator {
    /// Asks these tokens of the configuration first, and then those of the fleet.
    pub fn new(configured: impl IntoIterator<Item = (TokenId, Record)>, registry: Registry) -> Self {
        let nobody = Record {
            name: String::new(),
            tenant: Scope::Tenant(String::new()),
            role: Role::Read,
            // No text that is known has this hash.
            hash: TokenHash::NONE,
            created_ms: 0,
            expires_ms: None,
            previous: None,
        };
        Self {
            configured: configured.into_iter().map(|(id, record)| (id, Arc::new(record))).collect(),
            registry,
            cache: Cache::builder().max_capacity(CACHE_ENTRIES_MAX).time_to_live(CACHE_TTL).build(),
            used: Cache::builder().max_capacity(CACHE_ENTRIES_MAX).time_to_live(USED_INTERVAL).build(),
            nobody: Arc::new(nobody),
        }
    }

    /// Who has sent this header `authorization`. Whatever came takes the same way: it is hashed, and compared with
    /// some record in constant time, before anything is decided; `sandbar-bench -- refusals` looks for a difference.
    pub async fn check(&self, header: Option<&[u8]>) -> Result<Caller, Refused> {
        let presented = Presented::parse(header.unwrap_or_default());
        let found = match &presented.id {
            Some(id) => self.find(id).await,
            None => Ok(None),
        };
        let (found, is_asked) = found.map_or((None, false), |found| (found, true));
        let record = found.as_ref().unwrap_or(&self.nobody);
        let now_ms = self.registry.now_ms();
        let is_right = record.is_of(&presented.hash, now_ms);
        let id = match (header, presented.id) {
            (None, _) => return Err(Refused::Absent),
            (_, None) => return Err(Refused::Malformed),
            (_, Some(id)) => id,
        };
        if !is_asked {
            return Err(Refused::Unavailable(id));
        }
        let Some(record) = found else { return Err(Refused::Unknown(id)) };
        if !is_right {
            return Err(Refused::Wrong(id));
        }
        if record.is_expired(now_ms) {
            return Err(Refused::Expired(id));
        }
        self.used(&id).await;
        Ok(Caller { id, name: record.name.clone(), scope: record.tenant.clone(), role: record.role })
    }

    async fn find(&self, id: &TokenId) -> Result<Option<Arc<Record>>, StoreError> {
        if let Some(record) = self.configured.get(id) {
            return Ok(Some(record.clone()));
        }
        if let Some(found) = self.cache.get(id) {
            return Ok(found);
        }
        let found = self.registry.find(id).await.inspect_err(|error| {
            tracing::warn!(%id, %error, "cannot ask the store about a token");
        })?;
        let found = found.map(Arc::new);
        self.cache.insert(id.clone(), found.clone());
        Ok(found)
    }

    /// Writes down that a token was used, now and then. It is no harm where that fails.
    async fn used(&self, id: &TokenId) {
        if self.configured.contains_key(id) || self.used.contains_key(id) {
            return;
        }
        self.used.insert(id.clone(), ());
        if let Err(error) = self.registry.used(id).await {
            tracing::debug!(%id, %error, "cannot write down that a token was used");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbar_core::token::Minted;
    use sandbar_store::embedded::Embedded;

    fn registry() -> Registry {
        Registry::new(Arc::new(Embedded::new()), "")
    }

    fn header(minted: &Minted) -> Vec<u8> {
        format!("Bearer {}", minted.token.expose()).into_bytes()
    }

    async fn minted(registry: &Registry, life: Option<Duration>) -> Minted {
        registry.create("ci", Scope::Tenant("acme".to_owned()), Role::Operate, life).await.unwrap()
    }

    #[tokio::test]
    async fn only_callers_with_a_token_are_let_in() {
        let registry = registry();
        let authenticator = Authenticator::new([], registry.clone());
        let token = minted(&registry, None).await;
        let caller = authenticator.check(Some(&header(&token))).await.unwrap();
        assert_eq!((caller.role, caller.name.as_str()), (Role::Operate, "ci"));
        assert!(caller.scope.includes("acme") && !caller.scope.includes("other"));
        let refused = async |header: Option<&[u8]>| authenticator.check(header).await.unwrap_err();
        assert_eq!(refused(None).await, Refused::Absent);
        assert_eq!(refused(Some(b"Bearer x")).await, Refused::Malformed);
        assert_eq!(refused(Some(&header(&Minted::new()))).await.reason(), "unknown");
        assert_eq!(refused(Some(&header(&Minted::again(token.id.clone())))).await.reason(), "wrong");
    }

    #[tokio::test]
    async fn a_token_ends() {
        let registry = registry();
        let authenticator = Authenticator::new([], registry.clone());
        let token = minted(&registry, Some(Duration::from_millis(1))).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(authenticator.check(Some(&header(&token))).await.unwrap_err(), Refused::Expired(token.id));
        assert!(registry.create("", Scope::Host, Role::Read, None).await.is_err());
        assert!(registry.create("x", Scope::Host, Role::Read, Some(Duration::ZERO)).await.is_err());
    }

    #[tokio::test]
    async fn what_is_rotated_or_revoked_is_refused() {
        let registry = registry();
        let old = minted(&registry, None).await;
        let new = registry.rotate(&old.id, Duration::from_secs(60)).await.unwrap();
        let newest = registry.rotate(&old.id, Duration::from_secs(60)).await.unwrap();
        // A new authenticator each time has an empty cache.
        let check = async |token: &Minted| Authenticator::new([], registry.clone()).check(Some(&header(token))).await;
        assert_eq!(check(&old).await.unwrap_err().reason(), "wrong");
        assert!(check(&new).await.is_ok() && check(&newest).await.is_ok());
        assert_eq!(registry.list().await.unwrap().len(), 1);
        assert!(registry.revoke(&old.id).await.unwrap() && !registry.revoke(&old.id).await.unwrap());
        assert_eq!(check(&newest).await.unwrap_err().reason(), "unknown");
        assert!(matches!(
            registry.rotate(&old.id, Duration::ZERO).await,
            Err(crate::token_registry::TokenError::Missing(_))
        ));
    }

    #[tokio::test]
    async fn its_last_use_is_known() {
        let registry = registry();
        let token = minted(&registry, None).await;
        assert_eq!(registry.list().await.unwrap()[0].last_used_ms, None);
        Authenticator::new([], registry.clone()).check(Some(&header(&token))).await.unwrap();
        assert!(registry.list().await.unwrap()[0].last_used_ms.is_some());
    }
}
