//! What the fleet knows of one plugin: its active release, the one that is on its way, and those that were before.
//!
//! Pure: every change is a function from one record to the next. Who writes the next one compares it with what was
//! read.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::FleetError;
use sandbar_runtime::rollout::{FailedProbation, Trial};

/// How many releases that have ended a plugin's history keeps.
pub const HISTORY_MAX: usize = 50;
/// The fewest characters of a digest by which a release is named.
pub const DIGEST_MIN: usize = 4;

/// One deploy of a plugin: a component with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Counts the deploys of the plugin, from 1.
    pub number: u64,
    /// The SHA-256 of the component, in hexadecimal.
    pub digest: String,
    /// The text of the manifest. Empty for a version of a host's own that came from memory.
    pub manifest: String,
    /// The size of the component.
    pub size_bytes: u64,
    /// When it was deployed, in milliseconds since 1970 by the store's clock.
    pub time_ms: u64,
    /// Who deployed it; `file` for a version of a host's own.
    pub by: String,
}

/// A release that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedRelease {
    /// The release.
    pub release: Release,
    /// When it ended, in milliseconds since 1970 by the store's clock.
    pub ended_ms: u64,
    /// Why it ended.
    pub why: EndReason,
}

/// Why a release ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum EndReason {
    /// Another one took its place.
    Replaced {
        /// Who deployed that one.
        by: String,
    },
    /// It was rolled back to an older one.
    RolledBack {
        /// Who.
        by: String,
        /// What they said.
        reason: String,
    },
    /// It was found not good enough on its probation.
    #[serde(rename = "condemned")]
    FailedProbation {
        /// The host that found it.
        host: String,
        /// What it failed in, with the limit and the measured value.
        reason: String,
        /// Ids of events that it failed over; a few.
        events: Vec<String>,
    },
    /// It never became active: hosts could not load it.
    Failed {
        /// Which, and why.
        hosts: Vec<HostFailure>,
    },
    /// Its trial was ended, or its deploy was called off.
    Cancelled {
        /// Who did.
        by: String,
        /// What they said.
        reason: String,
    },
    /// The plugin was removed.
    Removed {
        /// Who did.
        by: String,
    },
}

/// A host that could not load a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HostFailure {
    /// The host, by its id.
    pub host: String,
    /// Why.
    pub reason: String,
}

/// A release that is not active yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The release.
    pub release: Release,
    /// How it is tried before it becomes active; at once where none.
    pub trial: Option<Trial>,
}

/// What is being done with a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing.
    Settled,
    /// The hosts load the candidate.
    Preparing {
        /// Until when they may, in milliseconds since 1970 by the store's clock.
        until_ms: u64,
    },
    /// The candidate is tried.
    Trial,
}

/// What the fleet knows of one plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Counts the changes of the record.
    pub generation: u64,
    /// What is being done.
    pub phase: Phase,
    /// What runs. Without it hosts that have the plugin in a folder run that.
    pub active: Option<Release>,
    /// What is on its way.
    pub candidate: Option<Candidate>,
    /// What was before, the newest first; up to [`HISTORY_MAX`].
    pub history: VecDeque<EndedRelease>,
}

impl Default for Record {
    fn default() -> Self {
        Self { generation: 0, phase: Phase::Settled, active: None, candidate: None, history: VecDeque::new() }
    }
}

impl Record {
    /// The number for the next release.
    pub fn next_number(&self) -> u64 {
        let past = self.history.iter().map(|past| past.release.number);
        let candidate = self.candidate.iter().map(|candidate| candidate.release.number);
        let active = self.active.iter().map(|release| release.number);
        past.chain(candidate).chain(active).max().unwrap_or_default().saturating_add(1)
    }

    /// All digests that the record refers to.
    pub fn digests(&self) -> impl Iterator<Item = &str> {
        let past = self.history.iter().map(|past| past.release.digest.as_str());
        let candidate = self.candidate.iter().map(|candidate| candidate.release.digest.as_str());
        past.chain(candidate).chain(self.active.iter().map(|release| release.digest.as_str()))
    }

    /// Begins a deploy. Refused while another is being prepared or tried, unless that one's time is over.
    pub fn begin(mut self, candidate: Candidate, now_ms: u64, until_ms: u64) -> Result<Self, FleetError> {
        if let Some(Candidate { release: Release { number, by, .. }, .. }) = &self.candidate {
            match self.phase {
                Phase::Preparing { until_ms } if until_ms <= now_ms => {
                    let hosts = Vec::new();
                    self = self.fail(hosts, now_ms);
                }
                Phase::Trial => return Err(FleetError::Trying { number: *number, by: by.clone() }),
                Phase::Preparing { .. } | Phase::Settled => {
                    return Err(FleetError::Busy { number: *number, by: by.clone() });
                }
            }
        }
        self.candidate = Some(candidate);
        self.phase = Phase::Preparing { until_ms };
        Ok(self.changed())
    }

    /// Every host has loaded the candidate: it becomes active, or its trial begins.
    pub fn ready(mut self, now_ms: u64) -> Self {
        if self.candidate.as_ref().is_some_and(|candidate| candidate.trial.is_some()) {
            self.phase = Phase::Trial;
            return self.changed();
        }
        self.advance(now_ms)
    }

    /// The candidate takes the place of the active release.
    fn advance(mut self, now_ms: u64) -> Self {
        self.phase = Phase::Settled;
        if let Some(Candidate { release, .. }) = self.candidate.take() {
            let why = EndReason::Replaced { by: release.by.clone() };
            if let Some(before) = self.active.replace(release) {
                self.past(before, why, now_ms);
            }
        }
        self.changed()
    }

    /// The candidate could not be loaded.
    pub fn fail(self, hosts: Vec<HostFailure>, now_ms: u64) -> Self {
        self.drop_candidate(EndReason::Failed { hosts }, now_ms).changed()
    }

    /// The candidate that is tried becomes active.
    pub fn promote(self, now_ms: u64) -> Result<Self, FleetError> {
        match self.phase {
            Phase::Trial => Ok(self.advance(now_ms)),
            Phase::Preparing { .. } | Phase::Settled => Err(FleetError::NoTrial),
        }
    }

    /// The candidate is dropped, whether it is being loaded or tried.
    pub fn end_trial(self, by: &str, reason: &str, now_ms: u64) -> Result<Self, FleetError> {
        if self.candidate.is_none() {
            return Err(FleetError::NoTrial);
        }
        let why = EndReason::Cancelled { by: by.to_owned(), reason: reason.to_owned() };
        Ok(self.drop_candidate(why, now_ms).changed())
    }

    /// Goes back: to the release whose digest begins with `to`, else from a candidate to the active release, else
    /// from the active release to the one that it replaced. Where it replaced none, the versions in the folders of
    /// the hosts are back.
    pub fn rollback(mut self, to: Option<&str>, by: &str, reason: &str, now_ms: u64) -> Result<Self, FleetError> {
        let why = || EndReason::RolledBack { by: by.to_owned(), reason: reason.to_owned() };
        let target = match to {
            Some(to) => Some(self.find(to)?),
            None if self.candidate.is_some() => return Ok(self.drop_candidate(why(), now_ms).changed()),
            None => self.before(),
        };
        self = self.drop_candidate(why(), now_ms);
        let ended = match target {
            Some(target) => self.active.replace(target),
            None => Some(self.active.take().ok_or(FleetError::NothingBefore)?),
        };
        if let Some(ended) = ended {
            self.past(ended, why(), now_ms);
        }
        Ok(self.changed())
    }

    /// Takes a release away that was found not good enough. None where it is neither active nor tried any more. By
    /// its number, because a release may differ from the one before in its manifest alone, and every host of a fleet
    /// may find it out.
    pub fn fail_probation(
        mut self,
        number: u64,
        failed_probation: &FailedProbation,
        host: &str,
        now_ms: u64,
    ) -> Option<Self> {
        let FailedProbation { reason, events, .. } = failed_probation;
        let why = EndReason::FailedProbation { host: host.to_owned(), reason: reason.clone(), events: events.clone() };
        let tried = self.candidate.as_ref().filter(|_| self.phase == Phase::Trial);
        if tried.is_some_and(|candidate| candidate.release.number == number) {
            return Some(self.drop_candidate(why, now_ms).changed());
        }
        if self.active.as_ref().is_none_or(|active| active.number != number) {
            return None;
        }
        let target = self.before();
        let ended = std::mem::replace(&mut self.active, target)?;
        self.past(ended, why, now_ms);
        Some(self.changed())
    }

    /// Takes the plugin away. Its history stays.
    pub fn remove(mut self, by: &str, now_ms: u64) -> Result<Self, FleetError> {
        let why = || EndReason::Removed { by: by.to_owned() };
        self = self.drop_candidate(why(), now_ms);
        let ended = self.active.take().ok_or(FleetError::NothingBefore)?;
        self.past(ended, why(), now_ms);
        Ok(self.changed())
    }

    /// The release that the active one replaced: the newest of those deployed before it that had not ended badly.
    fn before(&self) -> Option<Release> {
        let number = self.active.as_ref()?.number;
        let replaced =
            |past: &&EndedRelease| past.release.number < number && matches!(past.why, EndReason::Replaced { .. });
        self.history.iter().find(replaced).map(|past| past.release.clone())
    }

    /// The release that ended last of those whose digest begins so.
    fn find(&self, to: &str) -> Result<Release, FleetError> {
        the_one(to, self.history.iter().map(|past| &past.release)).cloned()
    }

    /// The release whose digest begins so: the candidate, else the active one, else the one that ended last.
    ///
    /// # Errors
    ///
    /// [`FleetError::NoRelease`], or [`FleetError::Ambiguous`] where several digests do.
    pub fn release(&self, named: &str) -> Result<&Release, FleetError> {
        let candidate = self.candidate.iter().map(|candidate| &candidate.release);
        the_one(named, candidate.chain(&self.active).chain(self.history.iter().map(|past| &past.release)))
    }

    fn drop_candidate(mut self, why: EndReason, now_ms: u64) -> Self {
        self.phase = Phase::Settled;
        if let Some(Candidate { release, .. }) = self.candidate.take() {
            self.past(release, why, now_ms);
        }
        self
    }

    fn past(&mut self, release: Release, why: EndReason, now_ms: u64) {
        self.history.push_front(EndedRelease { release, ended_ms: now_ms, why });
        self.history.truncate(HISTORY_MAX);
    }

    fn changed(mut self) -> Self {
        self.generation = self.generation.saturating_add(1);
        self
    }
}

/// The first release whose digest begins so, where no other digest does.
fn the_one<'a>(named: &str, releases: impl Iterator<Item = &'a Release>) -> Result<&'a Release, FleetError> {
    let mut found = releases.filter(|release| named.len() >= DIGEST_MIN && release.digest.starts_with(named));
    let first = found.next().ok_or_else(|| FleetError::NoRelease { to: named.to_owned() })?;
    if found.any(|release| release.digest != first.digest) {
        return Err(FleetError::Ambiguous { to: named.to_owned() });
    }
    Ok(first)
}

#[cfg(test)]
mod tests;
