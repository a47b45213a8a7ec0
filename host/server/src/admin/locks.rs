//! The locks of a tenant: lists their holders and breaks a lock.

use std::sync::Arc;

use serde::Serialize;

use super::AdminError;
use sandbar_core::grants::{RESERVED_PREFIX, check_foreign, check_name};
use sandbar_core::pattern::escape_glob;
use sandbar_store::{Holder, LockKey, Locked, Remaining, Store, StoreError};

/// About how many keys one step of a search looks at.
const SCAN_STEP: u32 = 1000;

/// A lock that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct LockState {
    /// Its key, without the tenant's prefix.
    pub key: String,
    /// The host, the plugin and the number of the holder; none where another kind of client holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The plugin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// The number, which only grows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// For how long it has been held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// What another kind of client has set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// None where it does not expire.
    pub remaining_ms: Option<u64>,
    /// How many wait for it.
    pub waiters: u64,
}

impl LockState {
    fn new(key: String, locked: &Locked, now_ms: u64) -> Self {
        let holder = Holder::parse(&locked.value);
        let remaining_ms = match locked.remaining {
            Remaining::Ms(ms) => Some(ms),
            Remaining::Never | Remaining::Missing => None,
        };
        let value = holder.is_none().then(|| locked.value.escape_ascii().to_string());
        let age_ms = holder.as_ref().map(|holder| now_ms.saturating_sub(holder.acquired_ms));
        let (host, plugin, token) =
            holder.map_or((None, None, None), |holder| (Some(holder.host), Some(holder.plugin), Some(holder.token)));
        Self { key, host, plugin, token, age_ms, value, remaining_ms, waiters: locked.waiters }
    }
}

/// The locks of a tenant.
#[derive(Debug, Clone)]
pub struct Locks {
    store: Arc<dyn Store>,
    prefix: String,
}

impl Locks {
    /// Those below a tenant's prefix.
    pub fn of(store: Arc<dyn Store>, prefix: &str) -> Self {
        Self { store, prefix: prefix.to_owned() }
    }

    /// Those that plugins hold, and where there is a glob pattern, keys that match it, whichever client set them.
    pub async fn list(&self, pattern: Option<&str>) -> Result<Vec<LockState>, AdminError> {
        let failed = |error| AdminError::store("look for locks", error);
        if let Some(pattern) = pattern {
            check_name("pattern", pattern)?;
        }
        let found = self.store.locks(&self.prefix).await.map_err(failed)?;
        let mut keys: Vec<String> = found.into_iter().filter_map(|lock| self.own(&lock.key)).collect();
        if let Some(pattern) = pattern {
            let (full, mut cursor) = (format!("{}{pattern}", escape_glob(&self.prefix)), Some(0));
            while let Some(from) = cursor {
                let page = self.store.scan(&full, from, SCAN_STEP).await.map_err(failed)?;
                keys.extend(page.keys.iter().filter_map(|key| self.own(key)));
                cursor = page.next;
            }
        }
        keys.sort_unstable();
        keys.dedup();
        let mut held = Vec::new();
        for key in keys {
            match self.store.look(&LockKey::new(&self.prefix, &key)).await {
                Ok(Some(locked)) => held.push(LockState::new(key, &locked, self.store.now_ms())),
                // Given back meanwhile, or no lock at all.
                Ok(None) | Err(StoreError::WrongType(_)) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(held)
    }

    /// Takes a lock from its holder, and answers what it was. The first waiter gets it.
    pub async fn break_open(&self, key: &str) -> Result<LockState, AdminError> {
        check_foreign("lock's key", key)?;
        let lock = LockKey::new(&self.prefix, key);
        let full = || format!("{}{key}", self.prefix);
        let failed = |error| AdminError::store(format!("break the lock `{}`", full()), error);
        let before = self.store.look(&lock).await.map_err(failed)?;
        let broken = self.store.break_open(&lock).await.map_err(failed)?;
        let value = broken.ok_or_else(|| AdminError::NotHeld(full()))?;
        let before = before.filter(|before| before.value == value);
        let (remaining, waiters) = before.map_or((Remaining::Missing, 0), |before| (before.remaining, before.waiters));
        Ok(LockState::new(key.to_owned(), &Locked { value, remaining, waiters }, self.store.now_ms()))
    }

    /// A key as the tenant's plugins call it; none for the hosts' own, tokens of the API among them.
    fn own(&self, key: &str) -> Option<String> {
        key.strip_prefix(&self.prefix).filter(|key| !key.starts_with(RESERVED_PREFIX)).map(str::to_owned)
    }
}
