//! One version in its place, and the call that it was chosen for.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::health_check::{self, Fault, Tally};
use super::health_stats::HealthStats;
use super::shadow::Shadow;
use super::{FailedProbation, Trial};
use crate::pool::Pool;
use crate::replay::Recording;
use crate::replay::dry_run::Side;
use sandbar_core::manifest::HealthSection;

/// A version that is in place, or is tried.
#[derive(Debug)]
pub(super) struct VersionSlot {
    pub(super) pool: Arc<Pool>,
    pub(super) health_stats: Arc<HealthStats>,
    pub(super) probation: Option<Probation>,
    /// How it is tried; none for the active version.
    pub(super) trial: Option<Trial>,
    /// What compares it, where it is a shadow.
    pub(super) shadow: Option<Shadow>,
}

/// A version is being compared.
#[derive(Debug)]
pub(super) struct Probation {
    /// How the version before it did.
    before: Arc<HealthStats>,
    /// None where it lasts as long as the trial.
    until: Option<Instant>,
    /// What it failed in, once it was found not good enough.
    failed_probation: OnceLock<FailedProbation>,
    /// Its end was reported.
    reported: AtomicBool,
}

impl Probation {
    /// A probation from now on; none where the plugin wants none.
    pub(super) fn of(pool: &Pool, before: &Arc<HealthStats>, trial: Option<Trial>) -> Option<Self> {
        let lasts = pool.context().health.probation;
        let until = match trial {
            // What a shadow does is compared event by event.
            Some(Trial::Shadow) => return None,
            Some(Trial::Canary { .. }) => None,
            None => Some(Instant::now() + lasts),
        };
        let (failed_probation, reported) = (OnceLock::new(), AtomicBool::new(false));
        (!lasts.is_zero()).then(|| Self { before: before.clone(), until, failed_probation, reported })
    }

    /// Whether its end was reported; from now on it is.
    pub(super) fn is_reported(&self) -> bool {
        self.reported.swap(true, Ordering::Relaxed)
    }
}

impl VersionSlot {
    /// A version that nothing is known of.
    pub(super) fn new(pool: Pool, before: Option<&Arc<HealthStats>>, trial: Option<Trial>) -> Self {
        let probation = before.and_then(|before| Probation::of(&pool, before, trial));
        let pool = Arc::new(pool);
        let shadow = (trial == Some(Trial::Shadow)).then(|| Shadow::begin(pool.clone()));
        Self { pool, health_stats: Arc::default(), probation, trial, shadow }
    }

    /// Its probation, while it lasts.
    pub(super) fn on_probation(&self) -> Option<&Probation> {
        let lasts = |probation: &&Probation| {
            let is_over = probation.until.is_some_and(|until| until <= Instant::now());
            !is_over && probation.failed_probation.get().is_none()
        };
        self.probation.as_ref().filter(lasts)
    }

    /// Whether it was found not good enough.
    pub(super) fn has_failed_probation(&self) -> bool {
        self.failed_probation().is_some()
    }

    /// What it failed in, where it was found not good enough.
    pub(super) fn failed_probation(&self) -> Option<&FailedProbation> {
        self.probation.as_ref()?.failed_probation.get()
    }

    /// How it and the version before it do, while it is on probation.
    pub(super) fn compared(&self) -> Option<(Tally, Tally)> {
        self.on_probation().map(|probation| (probation.before.tally(), self.health_stats.tally()))
    }

    /// Looks at how it does, until it is found not good enough.
    pub(super) fn judge(&self) -> Option<(Fault, FailedProbation)> {
        let probation = self.on_probation()?;
        let limits: &HealthSection = &self.pool.context().health;
        let fault = health_check::judge(limits, &probation.before.tally(), &self.health_stats.tally()).err()?;
        let failed_probation = FailedProbation {
            version: self.pool.context().version.clone(),
            reason: fault.to_string(),
            events: self.health_stats.faults(),
        };
        probation.failed_probation.set(failed_probation.clone()).ok()?;
        Some((fault, failed_probation))
    }
}

/// The version that takes a call.
#[derive(Debug, Clone)]
pub struct Chosen {
    pub(super) slot: Arc<VersionSlot>,
    /// Another version is tried with a share of the calls.
    pub(super) is_shared: bool,
    /// A version that follows this one without effect.
    pub(super) shadow: Option<Arc<VersionSlot>>,
}

impl Deref for Chosen {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.slot.pool
    }
}

impl Chosen {
    /// Whether another version follows this one: what it reads is to be recorded then.
    pub fn is_followed(&self) -> bool {
        self.shadow.is_some()
    }

    /// Hands the next version what this one has committed. Never waits.
    pub fn lead(&self, recording: Recording, side: Side) {
        if let Some(shadow) = self.shadow.as_ref().and_then(|slot| slot.shadow.as_ref()) {
            shadow.offer(recording, side);
        }
    }

    /// The version answered a call with so many events, or none where it was called for something else.
    pub fn answered(&self, events: usize, took: Duration) {
        self.slot.health_stats.answered(events, took);
    }

    /// So many events that it was given for the first time came to an end. Those that it did not handle have these
    /// ids, each as `source id`.
    pub fn settled(&self, events: usize, failed: impl IntoIterator<Item = String>) {
        let mut failures = 0;
        self.slot.health_stats.settled(events, failed.into_iter().inspect(|_| failures += 1));
        if self.is_shared {
            self.count("failed", failures);
            self.count("done", (events as u64).saturating_sub(failures));
        }
    }

    /// Distinguishes the two versions of a trial. Only while one is made: versions come without end, and a metric's
    /// labels must not.
    fn count(&self, outcome: &'static str, events: u64) {
        let context = self.context();
        let (tenant, plugin) = (context.tenant.clone(), context.plugin.clone());
        let role = if self.slot.trial.is_some() { "candidate" } else { "active" };
        let labels =
            [("tenant", tenant), ("plugin", plugin), ("role", role.to_owned()), ("outcome", outcome.to_owned())];
        metrics::counter!("sandbar_trial_events_total", &labels).increment(events);
    }
}
