//! What the API answers about plugins.

use sandbar_fleet::{EndReason, EndedRelease, HostOutcome, Phase, Record, Release};
use sandbar_runtime::rollout::{ProbationStatus, ShadowReport, Trial};
use serde::Serialize;
use utoipa::ToSchema;

use crate::host::PluginStatus;

/// The plugins of a tenant, or of all.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct PluginList {
    pub(super) plugins: Vec<ListedPlugin>,
}

/// A plugin in the list.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ListedPlugin {
    pub(super) tenant: String,
    pub(super) plugin: String,
    /// What is being done with it; none where nothing was deployed.
    pub(super) phase: Option<Phase>,
    /// The release that runs.
    pub(super) active: Option<ShownRelease>,
    /// The release that is being loaded or tried.
    pub(super) candidate: Option<ShownRelease>,
    /// What runs on the host that answers.
    pub(super) here: Option<Here>,
}

/// A plugin with its history.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ShownPlugin {
    pub(super) tenant: String,
    pub(super) plugin: String,
    /// What is being done with it; none where nothing was deployed.
    pub(super) phase: Option<Phase>,
    /// The release that runs.
    pub(super) active: Option<ShownRelease>,
    /// The release that is being loaded or tried.
    pub(super) candidate: Option<ShownCandidate>,
    /// The text of the manifest of what runs.
    pub(super) manifest: Option<String>,
    /// Earlier releases, the newest first.
    pub(super) history: Option<Vec<PastRelease>>,
    /// What each host has made of the active release.
    pub(super) hosts: Vec<HostOutcome>,
    /// What runs on the host that answers.
    pub(super) here: Option<HereInDetail>,
}

/// A release without its manifest, which may be long.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ShownRelease {
    /// Counts the deploys of the plugin, from 1.
    pub(super) number: u64,
    /// The SHA-256 of the component.
    pub(super) digest: String,
    /// The size of the component.
    pub(super) size_bytes: u64,
    /// When it was deployed, in milliseconds since 1970.
    pub(super) time_ms: u64,
    /// Who deployed it.
    pub(super) by: String,
}

/// A release that is not active yet.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ShownCandidate {
    pub(super) release: ShownRelease,
    /// How it is tried before it becomes active.
    pub(super) trial: Option<Trial>,
}

/// A release that has ended.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct PastRelease {
    pub(super) release: ShownRelease,
    /// When it ended, in milliseconds since 1970.
    pub(super) ended_ms: u64,
    /// Why it ended.
    pub(super) why: EndReason,
}

/// What runs on the host that answers, with its numbers since the host began.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Here {
    /// The version: the SHA-256 of its component.
    pub(super) digest: String,
    /// The number of the release; 0 for a version of the host's own.
    pub(super) number: u64,
    /// Why the host does not run what it should.
    pub(super) fault: Option<String>,
    /// How the version does, while it is on probation.
    pub(super) probation: Option<ProbationStatus>,
    /// Events that are done.
    pub(super) done: u64,
    /// Events that are retried later.
    pub(super) retries: u64,
    /// Events that were dead-lettered.
    pub(super) dead: u64,
    /// Calls that failed.
    pub(super) failures: u64,
    /// Events delivered and not acknowledged.
    pub(super) pending: u64,
    /// Events not yet delivered, where that is known.
    pub(super) lag: Option<u64>,
}

/// The same with the trial and the history of the host.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct HereInDetail {
    #[serde(flatten)]
    pub(super) here: Here,
    /// The version that is tried beside the active one.
    pub(super) trial: Option<TrialHere>,
    /// What ran on this host before.
    pub(super) history: Vec<PastRelease>,
}

/// What the host that answers has found of the version that is tried beside the active one.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct TrialHere {
    /// The version: the SHA-256 of its component.
    pub(super) digest: String,
    pub(super) trial: Trial,
    /// How a canary does.
    pub(super) standing: Option<ProbationStatus>,
    /// What a shadow did differently.
    pub(super) shadow: Option<ShadowReport>,
}

/// What was changed.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Changed {
    /// Counts the changes of the plugin's record.
    pub(super) generation: u64,
    pub(super) phase: Phase,
    pub(super) active: Option<ShownRelease>,
    pub(super) candidate: Option<ShownRelease>,
}

impl From<&Release> for ShownRelease {
    fn from(release: &Release) -> Self {
        let Release { number, size_bytes, time_ms, .. } = *release;
        Self { number, digest: release.digest.clone(), size_bytes, time_ms, by: release.by.clone() }
    }
}

impl From<&EndedRelease> for PastRelease {
    fn from(past: &EndedRelease) -> Self {
        Self { release: (&past.release).into(), ended_ms: past.ended_ms, why: past.why.clone() }
    }
}

impl From<&Record> for Changed {
    fn from(record: &Record) -> Self {
        Self {
            generation: record.generation,
            phase: record.phase,
            active: record.active.as_ref().map(ShownRelease::from),
            candidate: record.candidate.as_ref().map(|candidate| (&candidate.release).into()),
        }
    }
}

impl From<&PluginStatus> for Here {
    fn from(status: &PluginStatus) -> Self {
        let numbers = status.metrics.snapshot();
        Self {
            digest: status.version.clone(),
            number: status.release.number,
            fault: status.fault.clone(),
            probation: status.rollout.probation(),
            done: numbers.done,
            retries: numbers.retries,
            dead: numbers.dead,
            failures: numbers.failures,
            pending: numbers.backlog.pending,
            lag: numbers.backlog.lag,
        }
    }
}

impl From<&PluginStatus> for HereInDetail {
    fn from(status: &PluginStatus) -> Self {
        let trial = status.rollout.trial().map(|(pool, trial, standing)| TrialHere {
            digest: pool.context().version.clone(),
            trial,
            standing,
            shadow: status.rollout.shadow_report(),
        });
        Self { here: status.into(), trial, history: status.history.iter().map(PastRelease::from).collect() }
    }
}
