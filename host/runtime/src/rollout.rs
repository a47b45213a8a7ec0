//! Which versions of a plugin take its calls.
//!
//! Every trigger asks the rollout once for each call, so a version that is put in place takes new calls from one
//! instant on, and calls that run end on the version that they began with.
//!
//! A version that takes another one's place is on probation at first: how it does is counted, compared with how the
//! version before it did (`rollout/health_check.rs`), and [`Rollout::failed_probation`] returns when it is not good
//! enough.

mod health_check;
mod health_stats;
mod shadow;
mod slot;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::pool::Pool;
pub use shadow::{Sample, ShadowReport};
pub use slot::Chosen;
use slot::VersionSlot;

/// How often a version on probation is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How a second version is tried beside the active one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Trial {
    /// It gets the same batches, and what it would write is compared with what the active version writes, and dropped.
    Shadow,
    /// It takes this share of the calls, with effect.
    Canary {
        /// Of a hundred calls, 1 to 99.
        percent: u8,
    },
}

/// A version is not good enough: what its probation found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedProbation {
    /// The version: the SHA-256 of its component.
    pub version: String,
    /// What it failed in, with the limit and the measured value.
    pub reason: String,
    /// Ids of events that it failed over, as `source id`; a few.
    pub events: Vec<String>,
}

/// How a version on probation does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ProbationStatus {
    /// The version: the SHA-256 of its component.
    pub version: String,
    /// Events that it was given for the first time.
    pub events: u64,
    /// Those of them that failed, were rejected or asked for again.
    pub failed: u64,
    /// The share that failed of the version before.
    pub failure_rate_before: f64,
}

/// The versions of one plugin on this host.
#[derive(Debug)]
pub struct Rollout {
    active: ArcSwap<VersionSlot>,
    candidate: ArcSwapOption<VersionSlot>,
    /// Counts the calls of a canary's trial, to a hundred.
    calls: AtomicU32,
    /// A version was put in place, or a trial begun or ended.
    changed: Notify,
    /// The last version that was found not good enough.
    last_failed_probation: Mutex<Option<FailedProbation>>,
}

impl Rollout {
    /// A rollout of one version, which is not on probation.
    pub fn new(active: Pool) -> Self {
        Self {
            active: ArcSwap::from_pointee(VersionSlot::new(active, None, None)),
            candidate: ArcSwapOption::empty(),
            calls: AtomicU32::new(0),
            changed: Notify::new(),
            last_failed_probation: Mutex::default(),
        }
    }

    /// The active version.
    pub fn active(&self) -> Arc<Pool> {
        self.active.load().pool.clone()
    }

    /// The version that takes the next call.
    pub fn choose(&self) -> Chosen {
        let active = || self.active.load_full();
        let candidate = self.candidate.load();
        match candidate.as_ref().map(|slot| (slot, slot.trial)) {
            Some((slot, Some(Trial::Canary { percent }))) => {
                let is_its = is_the_candidates(self.calls.fetch_add(1, Ordering::Relaxed), percent);
                Chosen { slot: if is_its { slot.clone() } else { active() }, is_shared: true, shadow: None }
            }
            Some((slot, Some(Trial::Shadow))) => {
                Chosen { slot: active(), is_shared: false, shadow: Some(slot.clone()) }
            }
            Some((_, None)) | None => Chosen { slot: active(), is_shared: false, shadow: None },
        }
    }

    /// Puts another version in place from this instant on, and answers the one before. The new one is on probation,
    /// unless it comes in place of one that was found not good enough.
    pub fn replace(&self, active: Pool) -> Arc<Pool> {
        let before = self.active.load_full();
        let judged_by = (!before.has_failed_probation()).then_some(&before.health_stats);
        self.take_place(VersionSlot::new(active, judged_by, None))
    }

    /// The same without probation: for a version that is known to be good, such as one that is rolled back to.
    pub fn put_back(&self, active: Pool) -> Arc<Pool> {
        self.take_place(VersionSlot::new(active, None, None))
    }

    fn take_place(&self, slot: VersionSlot) -> Arc<Pool> {
        let before = self.active.swap(Arc::new(slot));
        self.changed.notify_waiters();
        before.pool.clone()
    }

    /// Tries another version beside the active one, in place of one that is tried already. A shadow needs a runtime.
    pub fn begin_trial(&self, candidate: Pool, trial: Trial) {
        let slot = VersionSlot::new(candidate, Some(&self.active.load().health_stats), Some(trial));
        self.candidate.store(Some(Arc::new(slot)));
        self.changed.notify_waiters();
    }

    /// Ends a trial; calls that run in the candidate end there.
    pub fn end_trial(&self) {
        self.candidate.store(None);
        self.changed.notify_waiters();
    }

    /// How the active version does, while it is on probation.
    pub fn probation(&self) -> Option<ProbationStatus> {
        probation_status(&self.active.load())
    }

    /// The version that is tried, how, and how it does where it is a canary.
    pub fn trial(&self) -> Option<(Arc<Pool>, Trial, Option<ProbationStatus>)> {
        let slot = self.candidate.load_full()?;
        Some((slot.pool.clone(), slot.trial?, probation_status(&slot)))
    }

    /// What the shadow did differently, while there is one.
    pub fn shadow_report(&self) -> Option<ShadowReport> {
        self.candidate.load().as_ref()?.shadow.as_ref().map(shadow::Shadow::report)
    }

    /// The last version that was found not good enough, if any was.
    pub fn last_failed_probation(&self) -> Option<FailedProbation> {
        self.last_failed_probation.lock().clone()
    }

    /// Waits until a version on probation (the active one, or a candidate) is found not good enough; at once while
    /// such a version is in place or tried. Nothing is looked at while no version is on probation. Cancel-safe.
    pub async fn failed_probation(&self) -> FailedProbation {
        loop {
            let changed = self.changed.notified();
            let slots = [Some(self.active.load_full()), self.candidate.load_full()];
            let mut is_quiet = true;
            for slot in slots.iter().flatten() {
                if let Some((fault, failed_probation)) = slot.judge() {
                    count_failed_probation(slot, fault.kind());
                    *self.last_failed_probation.lock() = Some(failed_probation.clone());
                    return failed_probation;
                }
                if let Some(failed_probation) = slot.failed_probation() {
                    return failed_probation.clone();
                }
                is_quiet &= !note(slot);
            }
            drop(slots);
            if is_quiet {
                changed.await;
            } else {
                tokio::select! {
                    () = changed => {}
                    () = sleep(LOOK) => {}
                }
            }
        }
    }
}

/// Whether a call, by its number, is one of the candidate's share. The share is spread evenly over each hundred.
fn is_the_candidates(call: u32, percent: u8) -> bool {
    let (call, percent) = (call % 100, u32::from(percent.min(100)));
    (call + 1) * percent / 100 != call * percent / 100
}

fn probation_status(slot: &VersionSlot) -> Option<ProbationStatus> {
    let (before, now) = slot.compared()?;
    Some(ProbationStatus {
        version: slot.pool.context().version.clone(),
        events: now.events,
        failed: now.failed,
        failure_rate_before: before.failure_rate(),
    })
}

/// Reports the outcomes of a version on probation; returns whether it is on probation.
fn note(slot: &VersionSlot) -> bool {
    let Some(probation) = &slot.probation else { return false };
    let is_on = slot.on_probation().is_some();
    // An end is reported once.
    if is_on || !probation.is_reported() {
        let context = slot.pool.context();
        let labels = [("tenant", context.tenant.clone()), ("plugin", context.plugin.clone())];
        metrics::gauge!("sandbar_probation", &labels).set(if is_on { 1.0 } else { 0.0 });
        metrics::gauge!("sandbar_probation_failure_rate", &labels).set(slot.health_stats.tally().failure_rate());
    }
    is_on
}

fn count_failed_probation(slot: &VersionSlot, reason: &'static str) {
    let context = slot.pool.context();
    let labels = [("tenant", context.tenant.clone()), ("plugin", context.plugin.clone())];
    metrics::gauge!("sandbar_probation", &labels).set(0.0);
    let [tenant, plugin] = labels;
    metrics::counter!("sandbar_probation_failed_total", &[tenant, plugin, ("reason", reason.to_owned())]).increment(1);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A canary gets its share of each hundred calls, and never two shares in a row that it could have had apart.
        #[test]
        fn a_share_is_exact_and_even(percent in 1_u8..=99, from in 0_u32..1000) {
            let all: Vec<u32> = (0..100).filter(|call| is_the_candidates(from * 100 + call, percent)).collect();
            prop_assert_eq!(all.len(), usize::from(percent));
            let (least, most) = (100 / u32::from(percent), 100_u32.div_ceil(u32::from(percent)));
            for pair in all.windows(2) {
                prop_assert!((least..=most).contains(&(pair[1] - pair[0])), "{:?}", all);
            }
        }
    }
}
