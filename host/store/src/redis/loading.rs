//! Values that are loaded: what decides is one script a step, on the key and its note.

use ::redis::{Pipeline, Value};
use async_trait::async_trait;
use bytes::Bytes;

use super::scripts::Script;
use super::{Redis, cache, reply};
use crate::loading::{EXPIRY_SLACK_MS, sum};
use crate::{
    Changes, ENDED_MS, Fill, Filled, Kept, LoadClaim, LoadClaimed, LoadSlot, Loading, Remaining, Stale, StoreError,
};

#[async_trait]
impl Loading for Redis {
    async fn kept(&self, slot: &LoadSlot, stale_ms: u64) -> Result<Option<Kept>, StoreError> {
        let mut pipeline = Pipeline::with_capacity(3);
        pipeline.cmd("GET").arg(&slot.key);
        pipeline.cmd("PTTL").arg(&slot.key);
        if stale_ms > 0 {
            pipeline.cmd("HGET").arg(&slot.note).arg("sum");
        }
        let mut answers = self.query_all(&pipeline).await?.into_iter();
        let mut next = || answers.next().unwrap_or_default();
        let Some(value) = reply::bytes(next(), &slot.key)? else { return Ok(None) };
        let remaining = match cache::remaining(next(), &slot.key)? {
            // It expired between the two: it is the last that was there.
            Remaining::Missing => Remaining::Ms(0),
            remaining => remaining,
        };
        if stale_ms > 0 && remaining != Remaining::Never {
            let (ours, copied) = (sum(&value), reply::bytes(next(), &slot.note)?);
            if copied.as_deref() != Some(ours.as_bytes()) {
                let stale_ms = stale_ms.to_string();
                self.load(Script::LoadCopy, slot, &[&value, ours.as_bytes(), stale_ms.as_bytes()]).await?;
            }
        }
        Ok(Some(Kept { value, remaining }))
    }

    async fn claim(&self, slot: &LoadSlot, claim: LoadClaim<'_>) -> Result<LoadClaimed, StoreError> {
        let (lease_ms, slack_ms) = (claim.lease_ms.to_string(), EXPIRY_SLACK_MS.to_string());
        let wants = if claim.wants_stale { "1" } else { "0" };
        let arguments = [claim.token, &lease_ms, claim.waited, wants, &slack_ms].map(str::as_bytes);
        let answer = self.load(Script::LoadClaim, slot, &arguments).await?;
        let (word, mut rest) = worded(answer, slot)?;
        let mut next = || rest.next().unwrap_or_default();
        Ok(match word.as_str() {
            "value" => LoadClaimed::Value(kept(next(), next(), slot)?),
            "missing" => LoadClaimed::Missing(reply::count(next(), &slot.note)?),
            "failed" => LoadClaimed::Failed {
                reason: reply::text_lossy(next(), &slot.note)?,
                stale: stale(next(), next(), slot)?,
            },
            "busy" => {
                LoadClaimed::Busy { token: reply::text_lossy(next(), &slot.note)?, stale: stale(next(), next(), slot)? }
            }
            "granted" => {
                next();
                LoadClaimed::Granted { stale: stale(next(), next(), slot)? }
            }
            word => return Err(unknown(word, slot)),
        })
    }

    async fn renew_load(&self, slot: &LoadSlot, token: &str, lease_ms: u64) -> Result<bool, StoreError> {
        let lease_ms = lease_ms.to_string();
        let answer = self.load(Script::LoadRenew, slot, &[token.as_bytes(), lease_ms.as_bytes()]).await?;
        Ok(reply::integer(answer, &slot.note)? == 1)
    }

    async fn fill(&self, slot: &LoadSlot, token: &str, fill: Fill<'_>) -> Result<Filled, StoreError> {
        let (word, value, ttl_ms, longer_ms) = match fill {
            Fill::Value { value, ttl_ms, stale_ms } => ("value", value.clone(), ttl_ms, stale_ms),
            Fill::Missing { ttl_ms } => ("missing", Bytes::new(), ttl_ms, ENDED_MS),
        };
        let (ttl_ms, longer_ms, sum) = (ttl_ms.to_string(), longer_ms.to_string(), sum(&value));
        let arguments =
            [token.as_bytes(), word.as_bytes(), ttl_ms.as_bytes(), longer_ms.as_bytes(), &value, sum.as_bytes()];
        let answer = self.load(Script::LoadFill, slot, &arguments).await?;
        let (word, mut rest) = worded(answer, slot)?;
        let filled = match word.as_str() {
            "kept" => Filled::Kept,
            "overtaken" => {
                Filled::Overtaken(kept(rest.next().unwrap_or_default(), rest.next().unwrap_or_default(), slot)?)
            }
            "revoked" => Filled::Revoked,
            word => return Err(unknown(word, slot)),
        };
        // The server's own word comes over another connection, somewhat later.
        self.changes.changed(&slot.key);
        Ok(filled)
    }

    async fn fail(&self, slot: &LoadSlot, token: &str, reason: &str) -> Result<(), StoreError> {
        let (reason, told_ms) = (if reason.is_empty() { "failed" } else { reason }, ENDED_MS.to_string());
        let arguments = [token, reason, &told_ms].map(str::as_bytes);
        reply::done(self.load(Script::LoadFail, slot, &arguments).await?, &slot.note)
    }

    fn follow(&self, prefix: &str) {
        if self.changes.want(prefix) {
            self.tracking.changed();
        }
    }

    fn changes(&self) -> &Changes {
        &self.changes
    }
}

impl Redis {
    async fn load(&self, script: Script, slot: &LoadSlot, arguments: &[&[u8]]) -> Result<Value, StoreError> {
        // An error of a script comes without the key that it is about.
        self.eval(script, &[&slot.key, &slot.note], arguments).await.map_err(|error| match error {
            StoreError::WrongType(_) => StoreError::WrongType(format!("`{}` holds another kind of value", slot.key)),
            error => error,
        })
    }
}

/// The first word of an answer, and what follows.
fn worded(answer: Value, slot: &LoadSlot) -> Result<(String, std::vec::IntoIter<Value>), StoreError> {
    let mut parts = reply::list(answer, &slot.key)?.into_iter();
    Ok((reply::text(parts.next().unwrap_or_default(), &slot.key)?, parts))
}

fn kept(value: Value, left: Value, slot: &LoadSlot) -> Result<Kept, StoreError> {
    let value = reply::bytes(value, &slot.key)?.unwrap_or_default();
    Ok(Kept { value, remaining: cache::remaining(left, &slot.key)? })
}

fn stale(value: Value, age: Value, slot: &LoadSlot) -> Result<Option<Stale>, StoreError> {
    let age_ms = reply::count(age, &slot.note)?;
    Ok(reply::bytes(value, &slot.note)?.map(|value| Stale { value, age_ms }))
}

fn unknown(word: &str, slot: &LoadSlot) -> StoreError {
    StoreError::Unavailable(format!("a load of `{}` was answered with `{word}`", slot.key))
}
