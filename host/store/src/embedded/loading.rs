//! Values that are loaded, and the notes beside them: hashes among the other keys, as in a server.

use async_trait::async_trait;
use bytes::Bytes;

use super::keyspace::Keyspace;
use super::value::{Hash, Plain};
use super::{Embedded, State};
use crate::loading::EXPIRY_SLACK_MS;
use crate::{
    Changes, ENDED_MS, Fill, Filled, Kept, LoadClaim, LoadClaimed, LoadSlot, Loading, Remaining, Stale, StoreError,
};

#[async_trait]
impl Loading for Embedded {
    async fn kept(&self, slot: &LoadSlot, stale_ms: u64) -> Result<Option<Kept>, StoreError> {
        let mut state = self.state();
        let Some(kept) = state.plain(slot)? else { return Ok(None) };
        if let (true, Remaining::Ms(left)) = (stale_ms > 0, kept.remaining) {
            state.copy(slot, &kept.value, left, stale_ms)?;
        }
        Ok(Some(kept))
    }

    async fn claim(&self, slot: &LoadSlot, claim: LoadClaim<'_>) -> Result<LoadClaimed, StoreError> {
        let mut state = self.state();
        if let Some(kept) = state.plain(slot)? {
            return Ok(LoadClaimed::Value(kept));
        }
        let now = state.keys.now_ms();
        let note = Note::read(&state.keys, slot)?;
        if let Some(missing) = note.number("missing").filter(|until| *until > now) {
            return Ok(LoadClaimed::Missing(missing - now));
        }
        let over = note.number("expires").filter(|expires| now.saturating_add(EXPIRY_SLACK_MS) >= *expires);
        let copy = over.filter(|_| claim.wants_stale).and_then(|expires| Some((expires, note.bytes("value")?)));
        let stale = copy.map(|(expires, value)| Stale { value, age_ms: now.saturating_sub(expires) });
        if note.number("told").is_some_and(|until| until > now) {
            let waited = note.text("ended") == claim.waited;
            let failure = note.text("failure");
            if failure.is_empty() && waited {
                return Ok(LoadClaimed::Missing(0));
            }
            if !failure.is_empty() && (waited || stale.is_some()) {
                return Ok(LoadClaimed::Failed { reason: failure, stale });
            }
        }
        let token = note.text("loader");
        if note.number("lease").is_some_and(|until| until > now) && token != claim.token {
            return Ok(LoadClaimed::Busy { token, stale });
        }
        state.grant_load(slot, claim.token, claim.lease_ms)?;
        Ok(LoadClaimed::Granted { stale })
    }

    async fn renew_load(&self, slot: &LoadSlot, token: &str, lease_ms: u64) -> Result<bool, StoreError> {
        let mut state = self.state();
        let granted = Note::read(&state.keys, slot)?.text("loader") == token;
        if granted {
            state.grant_load(slot, token, lease_ms)?;
        }
        Ok(granted)
    }

    async fn fill(&self, slot: &LoadSlot, token: &str, fill: Fill<'_>) -> Result<Filled, StoreError> {
        let filled = self.state().fill(slot, token, fill);
        self.tell(slot);
        filled
    }

    async fn fail(&self, slot: &LoadSlot, token: &str, reason: &str) -> Result<(), StoreError> {
        let ended = {
            let mut state = self.state();
            let granted = Note::read(&state.keys, slot)?.text("loader") == token;
            if granted {
                let until = state.keys.now_ms().saturating_add(ENDED_MS).to_string();
                let reason = if reason.is_empty() { "failed" } else { reason };
                state.note(slot, &["loader", "lease"], &[("ended", token), ("told", &until), ("failure", reason)])?;
                state.stay(slot, ENDED_MS);
            }
            granted
        };
        if ended {
            self.tell(slot);
        }
        Ok(())
    }

    fn follow(&self, _prefix: &str) {}

    fn changes(&self) -> &Changes {
        &self.changes
    }
}

impl Embedded {
    /// Wakes the waiters for the end of a load.
    fn tell(&self, slot: &LoadSlot) {
        self.changes.changed(&slot.key);
        self.wakes.wake(&slot.note);
    }
}

impl State {
    fn plain(&self, slot: &LoadSlot) -> Result<Option<Kept>, StoreError> {
        let value = self.keys.get::<Plain>(&slot.key)?;
        Ok(value.map(|value| Kept { value: value.clone(), remaining: self.keys.remaining(&slot.key) }))
    }

    fn copy(&mut self, slot: &LoadSlot, value: &Bytes, left: u64, stale_ms: u64) -> Result<(), StoreError> {
        if Note::read(&self.keys, slot)?.bytes("value").as_ref() == Some(value) {
            return Ok(());
        }
        let expires = self.keys.now_ms().saturating_add(left).to_string();
        self.keys.update(&slot.note, |note: &mut Hash| {
            note.insert("value".to_owned(), value.clone());
            note.insert("expires".to_owned(), expires.into());
            Ok(())
        })?;
        self.stay(slot, left.saturating_add(stale_ms));
        Ok(())
    }

    fn grant_load(&mut self, slot: &LoadSlot, token: &str, lease_ms: u64) -> Result<(), StoreError> {
        let until = self.keys.now_ms().saturating_add(lease_ms).to_string();
        self.note(slot, &[], &[("loader", token), ("lease", &until)])?;
        self.stay(slot, lease_ms);
        Ok(())
    }

    fn fill(&mut self, slot: &LoadSlot, token: &str, fill: Fill<'_>) -> Result<Filled, StoreError> {
        if Note::read(&self.keys, slot)?.text("loader") != token {
            return Ok(Filled::Revoked);
        }
        let found = self.plain(slot).transpose();
        if let Some(found) = found {
            self.note(slot, &["loader", "lease"], &[])?;
            return found.map(Filled::Overtaken);
        }
        let now = self.keys.now_ms();
        self.keys.delete(&slot.note);
        match fill {
            Fill::Value { value, ttl_ms, stale_ms } => {
                let expires = now.saturating_add(ttl_ms);
                self.keys.set(&slot.key, value.clone(), false);
                self.keys.expire(&slot.key, expires);
                if stale_ms > 0 {
                    self.copy(slot, value, ttl_ms, stale_ms)?;
                }
            }
            Fill::Missing { ttl_ms } => {
                let (missing, told) =
                    (now.saturating_add(ttl_ms).to_string(), now.saturating_add(ENDED_MS).to_string());
                let fields = [("missing", missing.as_str()), ("ended", token), ("told", &told), ("failure", "")];
                self.note(slot, &[], &fields)?;
                self.stay(slot, ttl_ms.max(ENDED_MS));
            }
        }
        Ok(Filled::Kept)
    }

    /// Removes and sets fields of a note.
    fn note(&mut self, slot: &LoadSlot, remove: &[&str], set: &[(&str, &str)]) -> Result<(), StoreError> {
        self.keys.update(&slot.note, |note: &mut Hash| {
            for name in remove {
                note.remove(*name);
            }
            note.extend(set.iter().map(|(name, value)| ((*name).to_owned(), Bytes::copy_from_slice(value.as_bytes()))));
            Ok(())
        })
    }

    /// Lets a note stay for at least so long.
    fn stay(&mut self, slot: &LoadSlot, ms: u64) {
        let short = match self.keys.remaining(&slot.note) {
            Remaining::Ms(left) => left < ms,
            Remaining::Never | Remaining::Missing => true,
        };
        if short {
            let expires = self.keys.now_ms().saturating_add(ms);
            self.keys.expire(&slot.note, expires);
        }
    }
}

/// The fields of a note; see `store/redis/lua/load.lua`.
struct Note<'a>(Option<&'a Hash>);

impl<'a> Note<'a> {
    fn read(keys: &'a Keyspace, slot: &LoadSlot) -> Result<Self, StoreError> {
        keys.get::<Hash>(&slot.note).map(Self)
    }

    fn bytes(&self, name: &str) -> Option<Bytes> {
        self.0?.get(name).cloned()
    }

    fn text(&self, name: &str) -> String {
        self.bytes(name).map(|value| String::from_utf8_lossy(&value).into_owned()).unwrap_or_default()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.text(name).parse().ok()
    }
}
