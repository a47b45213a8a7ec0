//! A deploy: from bytes and a manifest to a release that all hosts run.
//!
//! The deployer writes the component and the record in one commit, and then only waits. When all living hosts have
//! loaded the candidate, the first host or deployer that sees it writes the record in which the candidate is active.
//! A deployer that dies in between changes nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::{
    Candidate, EndReason, EndedRelease, Fleet, FleetError, HostFailure, HostRelease, LOOK, MANIFEST_BYTES_MAX, Node,
    PLUGINS_MAX, Phase, Record, Release, ReleaseState, Report, set, words,
};
use sandbar_core::manifest::Manifest;
use sandbar_runtime::plugin::{COMPONENT_BYTES_MAX, digest};
use sandbar_runtime::rollout::Trial;
use sandbar_store::{Effect, Subscriber};

/// How long hosts may take to load a release unless the deploy says otherwise.
pub const WAIT_DEFAULT: Duration = Duration::from_secs(30);
/// The longest that a deploy may let them take.
pub const WAIT_MAX: Duration = Duration::from_secs(600);
/// How long a deploy waits for hosts to report that they have switched. They do so in any case.
const SWITCH_WAIT: Duration = Duration::from_secs(5);

/// What is deployed.
#[derive(Debug, Clone)]
pub struct Deploy {
    /// The text of the manifest, which names the plugin.
    pub manifest: String,
    /// The component.
    pub component: Bytes,
    /// Who deploys.
    pub by: String,
    /// How it is tried first; it becomes active at once where none.
    pub trial: Option<Trial>,
    /// How long hosts may take to load it; up to [`WAIT_MAX`].
    pub wait: Duration,
}

/// What became of a deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Deployed {
    /// The tenant.
    pub tenant: String,
    /// The plugin.
    pub plugin: String,
    /// The release.
    pub number: u64,
    /// Its digest.
    pub digest: String,
    /// What it is now.
    pub outcome: DeployOutcome,
    /// What each host has made of it, by id.
    pub hosts: Vec<HostOutcome>,
}

/// What a release is after its deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeployOutcome {
    /// It is active.
    Active,
    /// It is on trial.
    Trial,
    /// It was active before.
    Unchanged,
}

/// What a host has made of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct HostOutcome {
    /// The host, by its id.
    pub host: String,
    /// The machine's name.
    pub machine: String,
    /// Whether it is alive. One that is not was not waited for, and follows when it is back.
    pub alive: bool,
    /// What it has made of it; none while it has not reported.
    pub standing: Option<ReleaseState>,
}

/// What the reports of the hosts say of a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// Some have not answered yet.
    Wait,
    /// All that are alive have loaded it.
    Ready,
    /// Some could not.
    Fail(Vec<HostFailure>),
}

impl Fleet {
    /// Has all hosts load a release and switch to it, and waits for that. Nothing is switched where one of them
    /// cannot load it: then all that could not are named. Hosts that are not alive are not waited for; they follow
    /// when they are back.
    pub async fn deploy(&self, tenant: &str, deploy: Deploy) -> Result<Deployed, FleetError> {
        let Deploy { manifest: text, component, by, trial, wait } = deploy;
        if text.len() > MANIFEST_BYTES_MAX {
            return Err(FleetError::ManifestTooLarge(text.len()));
        }
        if component.len() > COMPONENT_BYTES_MAX {
            return Err(FleetError::TooLarge(component.len()));
        }
        let plugin = Manifest::parse(&text).map_err(FleetError::Manifest)?.name;
        let bytes = component.clone();
        // Hashing 256 MiB takes a while.
        let digest = tokio::task::spawn_blocking(move || digest(&bytes)).await;
        let digest = digest
            .map_err(|error| FleetError::Damaged { key: "the component".to_owned(), reason: error.to_string() })?;
        let wait = wait.min(WAIT_MAX);
        let changed = Arc::new(ChangeSignal::default());
        let _listening = self.listen(changed.clone());

        let same = |active: &&Release| trial.is_none() && active.digest == digest && active.manifest == text;
        if let Some(record) = self.record(tenant, &plugin).await?
            && record.candidate.is_none()
            && let Some(active) = record.active.as_ref().filter(same)
        {
            let hosts = self.outcomes(tenant, &plugin, active.number).await?;
            let (tenant, number) = (tenant.to_owned(), active.number);
            return Ok(Deployed { tenant, plugin, number, digest, outcome: DeployOutcome::Unchanged, hosts });
        }
        if self.store.hash_length(&self.key("plugins")).await? >= PLUGINS_MAX
            && self.record(tenant, &plugin).await?.is_none()
        {
            return Err(FleetError::TooMany);
        }
        let more = [
            set(self.component_key(&digest), component.clone()),
            Effect::SetAdd { key: self.key("components"), members: vec![digest.clone()] },
            Effect::Add { key: self.key("catalogue"), by: 1 },
            Effect::Delete { key: self.report_key(tenant, &plugin) },
        ];
        let begin = |record: Option<Record>, now_ms: u64| {
            let record = record.unwrap_or_default();
            let release = Release {
                number: record.next_number(),
                digest: digest.clone(),
                manifest: text.clone(),
                size_bytes: component.len() as u64,
                time_ms: now_ms,
                by: words(&by),
            };
            let until_ms = now_ms.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
            record.begin(Candidate { release, trial }, now_ms, until_ms)
        };
        let record = self.write(tenant, &plugin, begin, &more).await?;
        let number = record.candidate.map(|candidate| candidate.release.number).unwrap_or_default();
        tracing::debug!(tenant, plugin, number, digest, "deploying");

        let outcome = self.await_decision(tenant, &plugin, number, &changed).await?;
        let hosts = self.await_switch(tenant, &plugin, number, &changed).await?;
        if let Err(error) = self.collect().await {
            tracing::warn!(%error, "unused components were not collected; the next deploy does so");
        }
        Ok(Deployed { tenant: tenant.to_owned(), plugin, number, digest, outcome, hosts })
    }

    /// Decides about a candidate that is being prepared, if the time has come: all hosts that are alive have loaded
    /// it, or one of them could not, or the time is over. Answers the record as it is then; none where there is none.
    /// Any host may call it at any time.
    pub async fn settle(&self, tenant: &str, plugin: &str) -> Result<Option<Record>, FleetError> {
        let Some(record) = self.record(tenant, plugin).await? else { return Ok(None) };
        let (Phase::Preparing { until_ms }, Some(candidate)) = (record.phase, &record.candidate) else {
            return Ok(Some(record));
        };
        let number = candidate.release.number;
        let (nodes, reports) = (self.nodes().await?, self.reports(tenant, plugin).await?);
        let verdict = judge(number, &nodes, &reports, self.now_ms() >= until_ms);
        if verdict == Verdict::Wait {
            return Ok(Some(record));
        }
        let decide = |record: Record, now_ms| {
            let still = record.candidate.as_ref().is_some_and(|candidate| candidate.release.number == number);
            if !still || !matches!(record.phase, Phase::Preparing { .. }) {
                // Another client was faster.
                return Err(FleetError::Changed);
            }
            Ok(match &verdict {
                Verdict::Fail(hosts) => record.fail(hosts.clone(), now_ms),
                Verdict::Ready | Verdict::Wait => record.ready(now_ms),
            })
        };
        match self.change(tenant, plugin, decide).await {
            Ok(record) => Ok(Some(record)),
            Err(FleetError::Changed) => self.record(tenant, plugin).await,
            Err(error) => Err(error),
        }
    }

    /// Waits until a release is not being prepared any more. The bound is in the record.
    async fn await_decision(
        &self,
        tenant: &str,
        plugin: &str,
        number: u64,
        changed: &ChangeSignal,
    ) -> Result<DeployOutcome, FleetError> {
        loop {
            let Some(record) = self.settle(tenant, plugin).await? else { return Err(FleetError::Changed) };
            let has = |release: &Release| release.number == number;
            if record.active.as_ref().is_some_and(has) {
                return Ok(DeployOutcome::Active);
            }
            match (&record.candidate, record.phase) {
                (Some(candidate), Phase::Preparing { .. }) if has(&candidate.release) => {}
                (Some(candidate), Phase::Trial) if has(&candidate.release) => return Ok(DeployOutcome::Trial),
                _ => return Err(ended(number, record.history.into_iter().find(|past| has(&past.release)))),
            }
            changed.wait(LOOK).await;
        }
    }

    /// Waits until all hosts that are alive have reported what they made of a release that is active or tried.
    async fn await_switch(
        &self,
        tenant: &str,
        plugin: &str,
        number: u64,
        changed: &ChangeSignal,
    ) -> Result<Vec<HostOutcome>, FleetError> {
        let end = Instant::now() + SWITCH_WAIT;
        loop {
            let hosts = self.outcomes(tenant, plugin, number).await?;
            if Instant::now() >= end || hosts.iter().all(|host| !host.alive || host.standing.is_some()) {
                return Ok(hosts);
            }
            changed.wait(LOOK).await;
        }
    }

    /// What each host has made of a release that is active or tried: those that are alive, and those that report on it.
    pub async fn outcomes(&self, tenant: &str, plugin: &str, number: u64) -> Result<Vec<HostOutcome>, FleetError> {
        let (nodes, reports) = (self.nodes().await?, self.reports(tenant, plugin).await?);
        let outcome = |node: Node| {
            let report = reports.iter().find(|report| report.host == node.host);
            // What a candidate is said to be on a trial is what counts then.
            let standing = report.and_then(|report| report.stand(number)).map(|stand| stand.state.clone());
            HostOutcome { host: node.host, machine: node.machine, alive: node.alive, standing }
        };
        let outcomes = nodes.into_iter().map(outcome);
        Ok(outcomes.filter(|outcome| outcome.alive || outcome.standing.is_some()).collect())
    }
}

impl Report {
    /// What is said of a release that takes calls: as the active one, or as one that is tried.
    fn stand(&self, number: u64) -> Option<&HostRelease> {
        let has = |stand: &&HostRelease| stand.number == number || stand.state == ReleaseState::Elsewhere;
        self.active.as_ref().filter(has).or(self.trial.as_ref().filter(has))
    }
}

/// What the reports of the hosts say of a candidate.
fn judge(number: u64, nodes: &[Node], reports: &[Report], is_over: bool) -> Verdict {
    let mut failures = Vec::new();
    for node in nodes.iter().filter(|node| node.alive) {
        let report = reports.iter().find(|report| report.host == node.host);
        let stand = report.and_then(|report| report.candidate.as_ref()).filter(|stand| stand.number == number);
        let reason = match stand.map(|stand| &stand.state) {
            Some(ReleaseState::Good | ReleaseState::Elsewhere) => continue,
            Some(ReleaseState::Failed { reason }) => reason.clone(),
            None if is_over => "it did not answer in time".to_owned(),
            None => return Verdict::Wait,
        };
        failures.push(HostFailure { host: node.host.clone(), reason });
    }
    if failures.is_empty() { Verdict::Ready } else { Verdict::Fail(failures) }
}

/// How a release ended before it became active.
fn ended(number: u64, past: Option<EndedRelease>) -> FleetError {
    let why = match past.map(|past| past.why) {
        Some(EndReason::Failed { hosts }) if !hosts.is_empty() => return FleetError::Refused { number, hosts },
        Some(EndReason::Failed { .. }) => "its time was over".to_owned(),
        Some(EndReason::Cancelled { by, reason }) => format!("`{by}` called it off: {reason}"),
        Some(EndReason::RolledBack { by, reason }) => format!("`{by}` rolled back: {reason}"),
        Some(EndReason::FailedProbation { reason, .. }) => reason,
        Some(EndReason::Replaced { by } | EndReason::Removed { by }) => format!("`{by}` changed the plugin"),
        None => "it is not in the history any more".to_owned(),
    };
    FleetError::Ended { number, why }
}

/// Wakes the waiter for a change.
#[derive(Debug, Default)]
struct ChangeSignal(Notify);

impl ChangeSignal {
    /// Waits for a change, or until it is time to look without one.
    async fn wait(&self, at_most: Duration) {
        // Either way it is time to look.
        let _ = timeout(at_most, self.0.notified()).await;
    }
}

impl Subscriber for ChangeSignal {
    fn message(&self, _: &str, _: Bytes) {
        self.0.notify_one();
    }

    fn listening(&self, _: bool) {
        self.0.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: &str, alive: bool) -> Node {
        Node { host: host.to_owned(), alive, ..Node::default() }
    }

    fn report(host: &str, number: u64, state: ReleaseState) -> Report {
        let stand = HostRelease { number, digest: String::new(), state };
        Report { host: host.to_owned(), candidate: Some(stand), ..Report::default() }
    }

    #[test]
    fn all_that_are_alive_are_waited_for_and_no_others() {
        let nodes = [node("a", true), node("b", true), node("c", false)];
        let good = |host, number| report(host, number, ReleaseState::Good);
        assert_eq!(judge(2, &nodes, &[good("a", 2)], false), Verdict::Wait);
        assert_eq!(judge(2, &nodes, &[good("a", 2), good("b", 1)], false), Verdict::Wait, "an older deploy");
        assert_eq!(judge(2, &nodes, &[good("a", 2), good("b", 2)], false), Verdict::Ready);
        assert_eq!(judge(2, &nodes, &[good("a", 2), report("b", 2, ReleaseState::Elsewhere)], false), Verdict::Ready);
        assert_eq!(judge(2, &[], &[], false), Verdict::Ready, "hosts that come later follow");
    }

    #[test]
    fn all_that_could_not_load_it_are_named() {
        let nodes = [node("a", true), node("b", true), node("c", true)];
        let failed = |host| report(host, 1, ReleaseState::Failed { reason: format!("{host} is too small") });
        assert_eq!(judge(1, &nodes, &[failed("a"), report("b", 1, ReleaseState::Good)], false), Verdict::Wait);
        let Verdict::Fail(hosts) = judge(1, &nodes, &[failed("a"), failed("b")], true) else { panic!("it fails") };
        let told: Vec<String> = hosts.iter().map(|failure| format!("{}: {}", failure.host, failure.reason)).collect();
        assert_eq!(told, ["a: a is too small", "b: b is too small", "c: it did not answer in time"]);
    }
}
