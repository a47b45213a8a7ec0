//! When ticks are due, and what became of the last ones.

use serde::Serialize;

use super::AdminError;
use sandbar_core::manifest::{Manifest, ScheduleTrigger, Trigger};
use sandbar_store::{Holder, Store, StoreError};
use sandbar_triggers::schedule::{Keys, Run, parse_last};

/// A schedule of a plugin.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Due {
    /// The plugin.
    pub plugin: String,
    /// The schedule.
    pub schedule: String,
    /// The next tick after now.
    pub next_ms: Option<u64>,
    /// The last tick that was run or skipped; none where no host has begun with it.
    pub last_ms: Option<u64>,
    /// The host that runs a tick now.
    pub running_on: Option<String>,
    /// The newest first.
    pub runs: Vec<Run>,
}

/// The schedules of a plugin, each with so many of its last runs.
pub async fn of(store: &dyn Store, prefix: &str, manifest: &Manifest, runs: u32) -> Result<Vec<Due>, AdminError> {
    let mut found = Vec::new();
    for trigger in &manifest.triggers {
        if let Trigger::Schedule(trigger) = trigger {
            let keys = Keys::new(prefix, &manifest.name, &trigger.name);
            let due = look(store, &manifest.name, trigger, &keys, runs).await;
            found.push(due.map_err(|error| AdminError::store("look at a schedule", error))?);
        }
    }
    Ok(found)
}

async fn look(
    store: &dyn Store,
    plugin: &str,
    trigger: &ScheduleTrigger,
    keys: &Keys,
    runs: u32,
) -> Result<Due, StoreError> {
    let last = store.get(&keys.last).await?;
    let newest = if runs == 0 { Vec::new() } else { store.list_range(&keys.history, 0, i64::from(runs) - 1).await? };
    let running_on = store.look(&keys.lock).await?.and_then(|locked| Holder::parse(&locked.value));
    Ok(Due {
        plugin: plugin.to_owned(),
        schedule: trigger.name.clone(),
        next_ms: trigger.times().ok().and_then(|times| times.after(store.now_ms())),
        last_ms: last.and_then(|last| parse_last(&last)),
        running_on: running_on.map(|holder| holder.host),
        runs: newest.iter().filter_map(|line| Run::parse(line)).collect(),
    })
}
