//! The versions of one plugin on this host: the active one, the earlier ones, and what the fleet asks for.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::running_plugin::RunningPlugin;
use super::{PluginStatus, Tenant};
use crate::http::PluginHealth;
use sandbar_core::manifest::Manifest;
use sandbar_fleet::{
    Candidate, EndReason, EndedRelease, HISTORY_MAX, HostRelease, Phase, Record, Release, ReleaseState, Report,
};
use sandbar_runtime::plugin::Version;
use sandbar_runtime::pool::Pool;
use sandbar_runtime::telemetry::PluginMetrics;

/// A version of a plugin that is compiled and checked; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub(super) manifest: Arc<Manifest>,
    pub(super) version: Version,
    /// Number 0 for a version of the host's own.
    pub(super) release: Arc<Release>,
}

impl Loaded {
    /// Whether it is what a release names.
    pub(super) fn is(&self, release: &Release) -> bool {
        let own = &self.release;
        own.number == release.number && own.digest == release.digest && own.manifest == release.manifest
    }

    /// Whether it came from a file or from memory, and not from the fleet.
    pub(super) fn is_own(&self) -> bool {
        self.release.number == 0
    }
}

/// The place of one plugin.
#[derive(Debug)]
pub(super) struct PluginSlot {
    pub(super) name: String,
    /// Held by a task that changes what runs here.
    pub(super) change_lock: tokio::sync::Mutex<()>,
    pub(super) state: Mutex<PluginState>,
}

/// What is in a place.
#[derive(Debug, Default)]
pub(super) struct PluginState {
    /// The triggers and instances, where it runs.
    pub(super) running: Option<Arc<RunningPlugin>>,
    /// The version that runs.
    pub(super) active: Option<Loaded>,
    /// The version that ran before it, to go back at once.
    pub(super) before: Option<Loaded>,
    /// The host's own version.
    pub(super) own: Option<Loaded>,
    /// A candidate of the fleet, with an instance that is warm.
    pub(super) prepared: Option<(Loaded, Pool)>,
    /// A candidate of the fleet that could not be loaded, by its number.
    pub(super) refused: Option<(u64, String)>,
    /// A candidate of the fleet that is tried.
    pub(super) tried: Option<Loaded>,
    /// What the fleet says of the plugin.
    pub(super) record: Option<Arc<Record>>,
    /// Why it does not run what it should.
    pub(super) fault: Option<String>,
    /// The host's own versions that were before, the newest first.
    pub(super) history: VecDeque<EndedRelease>,
    /// Its numbers, once it has run.
    pub(super) metrics: Option<PluginMetrics>,
}

impl PluginSlot {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), change_lock: tokio::sync::Mutex::default(), state: Mutex::default() }
    }

    /// Its status, if it runs.
    pub(super) fn status(&self, tenant: &Tenant) -> Option<PluginStatus> {
        let state = self.state.lock();
        let (running, active) = (state.running.as_ref()?, state.active.as_ref()?);
        Some(PluginStatus {
            name: self.name.clone(),
            tenant: tenant.name().to_owned(),
            version: active.release.digest.clone(),
            metrics: running.metrics().clone(),
            rollout: running.rollout().clone(),
            release: active.release.clone(),
            tried: state.tried.as_ref().map(|tried| tried.release.clone()),
            fault: state.fault.clone(),
            history: state.history.iter().cloned().collect(),
        })
    }

    /// How it is, where it runs or should.
    pub(super) fn health(&self, tenant: &Tenant) -> Option<PluginHealth> {
        let state = self.state.lock();
        let wanted = || state.record.as_ref()?.active.as_ref().map(|release| release.digest.clone());
        let version = match &state.active {
            Some(active) => active.release.digest.clone(),
            None => wanted().filter(|_| state.fault.is_some())?,
        };
        let running = state.running.as_ref().is_some_and(|running| running.is_ready());
        Some(PluginHealth { name: self.name.clone(), tenant: tenant.name().to_owned(), version, running })
    }

    /// Why it does not run what it should.
    pub(super) fn fault(&self) -> Option<String> {
        self.state.lock().fault.clone()
    }

    /// What the host has made of the fleet's releases.
    pub(super) fn report(&self, host: &str) -> Report {
        let state = self.state.lock();
        let record = state.record.as_deref();
        let good = |loaded: &Loaded| stand(&loaded.release, ReleaseState::Good);
        let active = match record.and_then(|record| record.active.as_ref()) {
            Some(wanted) => match (&state.active, &state.fault) {
                (Some(active), _) if active.is(wanted) => Some(good(active)),
                (_, Some(reason)) => Some(stand(wanted, ReleaseState::Failed { reason: reason.clone() })),
                _ => None,
            },
            None => state.active.as_ref().map(good),
        };
        let (mut candidate, mut trial) = (None, None);
        if let Some(Record { phase, candidate: Some(Candidate { release, .. }), .. }) = record {
            let refused = state.refused.as_ref().filter(|(number, _)| *number == release.number);
            let is = |loaded: &&Loaded| loaded.is(release);
            let loaded = state.prepared.as_ref().map(|(loaded, _)| loaded).filter(is);
            let reported = match (refused, loaded.or(state.tried.as_ref().filter(is))) {
                (Some((_, reason)), _) => Some(stand(release, ReleaseState::Failed { reason: reason.clone() })),
                (None, Some(loaded)) => Some(good(loaded)),
                (None, None) => None,
            };
            match phase {
                Phase::Trial => trial = reported,
                Phase::Preparing { .. } | Phase::Settled => candidate = reported,
            }
        }
        Report { host: host.to_owned(), candidate, trial, active }
    }
}

impl PluginState {
    /// The fleet's release that goes before the host's own version.
    pub(super) fn wanted(&self) -> Option<&Release> {
        self.record.as_ref()?.active.as_ref()
    }

    /// A version that is in memory still and is what a release names.
    pub(super) fn find(&self, release: &Release) -> Option<Loaded> {
        let kept = [&self.active, &self.before, &self.tried];
        kept.into_iter().flatten().find(|loaded| same(loaded, release)).cloned()
    }

    /// Notes that a version of the host's own has ended.
    pub(super) fn past(&mut self, release: &Release, why: EndReason, now_ms: u64) {
        self.history.push_front(EndedRelease { release: release.clone(), ended_ms: now_ms, why });
        self.history.truncate(HISTORY_MAX);
    }
}

/// Whether a loaded version has the bytes and the manifest of a release, of whatever number.
fn same(loaded: &Loaded, release: &Release) -> bool {
    loaded.release.digest == release.digest && loaded.release.manifest == release.manifest
}

fn stand(release: &Release, state: ReleaseState) -> HostRelease {
    HostRelease { number: release.number, digest: release.digest.clone(), state }
}
