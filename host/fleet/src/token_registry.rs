//! The tokens of a fleet, in the store.
//!
//! One key for each, `{prefix}sandbar:fleet:token:{id}`, with a [`Record`] as JSON; and one beside it with the time
//! when the token was last used, which hosts write without reading the record. No plugin reads or writes either: see
//! [`sandbar_core::grants::RESERVED_PREFIX`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use sandbar_core::pattern::escape_glob;
use sandbar_core::token::{Minted, NAME_BYTES_MAX, Previous, Record, Role, Scope, TokenId};
use sandbar_store::{Commit, CommitError, Condition, Effect, Expiry, Store, StoreError};

/// The most tokens of a fleet.
const TOKENS_MAX: usize = 100_000;
/// How many keys one step of a search looks at.
const SCAN_COUNT: u32 = 1000;
/// How long a token that has ended is still listed.
const LISTED_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long it is known when a token was last used.
const USED_KEPT: Duration = Duration::from_secs(365 * 24 * 3600);
/// The longest life of a token.
const LIFE_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The tokens of a fleet; cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {
    store: Arc<dyn Store>,
    prefix: String,
}

/// A token, as it is listed: without its hash.
#[derive(Debug, Clone, Serialize)]
pub struct ListedToken {
    /// Its public part.
    pub id: TokenId,
    /// What it is for.
    pub name: String,
    /// Whom it lets act; `*` for the whole host.
    pub tenant: Scope,
    /// What it may be used for.
    pub role: Role,
    /// When it was made.
    pub created_ms: u64,
    /// When it ends; none where it does not.
    pub expires_ms: Option<u64>,
    /// When it was last used, to the minute; none where that is not known.
    pub last_used_ms: Option<u64>,
}

/// Why something could not be done with tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// There is no such token.
    #[error("there is no token `{0}`")]
    Missing(TokenId),
    /// A value is outside its bounds.
    #[error("{0}")]
    Invalid(String),
    /// It was changed at the same time.
    #[error("the token `{0}` was changed by another client at the same time; nothing was done")]
    Changed(TokenId),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store did not keep it, or it is not known whether it did.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl Registry {
    /// The tokens below a fleet's prefix.
    pub fn new(store: Arc<dyn Store>, prefix: &str) -> Self {
        Self { store, prefix: prefix.to_owned() }
    }

    /// The time of the store, in milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.store.now_ms()
    }

    /// What is kept of a token. A record that cannot be read counts as none.
    pub async fn find(&self, id: &TokenId) -> Result<Option<Record>, StoreError> {
        let found = match self.store.get(&self.key(id)).await {
            Err(StoreError::WrongType(_)) => None,
            found => found?,
        };
        Ok(found.and_then(|bytes| parse(id, &bytes)))
    }

    /// Makes a token. `life` is how long it holds; for ever where it is none.
    pub async fn create(
        &self,
        name: &str,
        tenant: Scope,
        role: Role,
        life: Option<Duration>,
    ) -> Result<Minted, TokenError> {
        let (minted, record) = make(name, tenant, role, life, self.now_ms())?;
        let key = self.key(&minted.id);
        // An id that exists already is not to be expected before the sun goes out, but would take a token away.
        self.keep(&minted.id, &record, &[(key, None)]).await?;
        Ok(minted)
    }

    /// Gives a token a new secret. The one before holds for `overlap`.
    pub async fn rotate(&self, id: &TokenId, overlap: Duration) -> Result<Minted, TokenError> {
        let key = self.key(id);
        let before = self.store.get(&key).await?.ok_or_else(|| TokenError::Missing(id.clone()))?;
        let record = parse(id, &before).ok_or_else(|| TokenError::Missing(id.clone()))?;
        let minted = Minted::again(id.clone());
        let previous = Previous { hash: record.hash, until_ms: self.now_ms().saturating_add(millis(overlap)) };
        let record = Record { hash: minted.hash, previous: Some(previous).filter(|_| !overlap.is_zero()), ..record };
        self.keep(id, &record, &[(key, Some(before))]).await?;
        Ok(minted)
    }

    /// Takes a token away. False where there was none.
    pub async fn revoke(&self, id: &TokenId) -> Result<bool, TokenError> {
        let there = self.store.get(&self.key(id)).await?.is_some();
        let effects = [self.key(id), self.used_key(id)].map(|key| Effect::Delete { key });
        self.store.commit(Commit::plain(&effects, &[])).await?;
        Ok(there)
    }

    /// All tokens, by name and id; at most [`TOKENS_MAX`] are looked at.
    pub async fn list(&self) -> Result<Vec<ListedToken>, StoreError> {
        let begin = self.beginning();
        let (mut ids, mut cursor) = (Vec::new(), Some(0));
        while let Some(from) = cursor.filter(|_| ids.len() < TOKENS_MAX) {
            let page = self.store.scan(&format!("{}*", escape_glob(&begin)), from, SCAN_COUNT).await?;
            ids.extend(page.keys.iter().filter_map(|key| key.strip_prefix(&begin)?.parse::<TokenId>().ok()));
            cursor = page.next;
        }
        ids.sort_unstable();
        ids.dedup();
        let mut listed = Vec::new();
        for id in ids {
            if let Some(record) = self.find(&id).await? {
                let used = self.store.get(&self.used_key(&id)).await.unwrap_or(None);
                let last_used_ms = used.and_then(|used| std::str::from_utf8(&used).ok()?.parse().ok());
                let Record { name, tenant, role, created_ms, expires_ms, .. } = record;
                listed.push(ListedToken { id, name, tenant, role, created_ms, expires_ms, last_used_ms });
            }
        }
        listed.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(listed)
    }

    /// Remembers that a token was used now.
    pub(super) async fn used(&self, id: &TokenId) -> Result<(), CommitError> {
        let set = Effect::Set {
            key: self.used_key(id),
            value: Bytes::from(self.now_ms().to_string()),
            expiry: Expiry::TtlMs(millis(USED_KEPT)),
            condition: Condition::Always,
        };
        self.store.commit(Commit::plain(&[set], &[])).await?;
        Ok(())
    }

    async fn keep(&self, id: &TokenId, record: &Record, watched: &[(String, Option<Bytes>)]) -> Result<(), TokenError> {
        let value = serde_json::to_vec(record).map_err(|error| TokenError::Invalid(error.to_string()))?;
        let left = |expires_ms: u64| expires_ms.saturating_sub(self.now_ms()).saturating_add(millis(LISTED_AFTER));
        let expiry = record.expires_ms.map_or(Expiry::Never, |expires_ms| Expiry::TtlMs(left(expires_ms)));
        let set = Effect::Set { key: self.key(id), value: value.into(), expiry, condition: Condition::Always };
        match self.store.commit(Commit::plain(&[set], watched)).await {
            Ok(_) => Ok(()),
            Err(CommitError::Conflict(_)) => Err(TokenError::Changed(id.clone())),
            Err(error) => Err(error.into()),
        }
    }

    fn beginning(&self) -> String {
        format!("{}sandbar:fleet:token:", self.prefix)
    }

    fn key(&self, id: &TokenId) -> String {
        format!("{}{id}", self.beginning())
    }

    fn used_key(&self, id: &TokenId) -> String {
        format!("{}sandbar:fleet:token-used:{id}", self.prefix)
    }
}

/// A token, and what is to be kept of it.
pub fn make(
    name: &str,
    tenant: Scope,
    role: Role,
    life: Option<Duration>,
    now_ms: u64,
) -> Result<(Minted, Record), TokenError> {
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) || name.chars().any(char::is_control) {
        let reason = format!("a token's name has 1 to {NAME_BYTES_MAX} bytes and no control characters");
        return Err(TokenError::Invalid(reason));
    }
    if life.is_some_and(|life| life.is_zero() || life > LIFE_MAX) {
        return Err(TokenError::Invalid("a token expires after more than 0s and at most 3650days".to_owned()));
    }
    let minted = Minted::new();
    let expires_ms = life.map(|life| now_ms.saturating_add(millis(life)));
    let hash = minted.hash;
    let record = Record { name: name.to_owned(), tenant, role, hash, created_ms: now_ms, expires_ms, previous: None };
    Ok((minted, record))
}

fn parse(id: &TokenId, bytes: &[u8]) -> Option<Record> {
    serde_json::from_slice(bytes)
        .inspect_err(|error| tracing::warn!(%id, %error, "the record of a token cannot be read: it lets nobody in"))
        .ok()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
