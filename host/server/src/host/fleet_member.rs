//! A host in its fleet: sends heartbeats and follows the records of the plugins of its tenants.
//!
//! It looks when a change is announced, and [every heartbeat](HEARTBEAT_MS) without one, so that an announcement that
//! is lost costs no more than that. Each plugin is followed by a task of its own, one at a time; a plugin that takes
//! long holds up no other.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Tenant;
use super::shared::HostShared;
use sandbar_fleet::{
    FAULTS_MAX, Fleet, FleetError, HEARTBEAT_MS, HostRelease, NamedRecord, Node, Phase, Record, ReleaseState, Report,
};
use sandbar_store::{Subscriber, Subscription};

/// How often a host sends a heartbeat and reads the records without an announcement.
const BEAT: Duration = Duration::from_millis(HEARTBEAT_MS);
/// After how many of these it looks for hosts that are to be forgotten.
const BEATS_PER_SWEEP: u64 = 60;
/// After how many of these it tries again to run what it could not.
const BEATS_PER_RETRY: u64 = 30;
/// How long a goodbye may take.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);
/// Where the system keeps the machine's name.
const MACHINE: &str = "/proc/sys/kernel/hostname";

/// A tenant and the name of a plugin.
type Name = (String, String);

/// A host in its fleet.
#[derive(Debug)]
pub(super) struct FleetMember {
    base: Arc<HostShared>,
    tenants: Vec<Arc<Tenant>>,
    fleet: Fleet,
    node: Node,
    changed: Arc<ChangeSignal>,
    _listening: Subscription,
    /// How many changes there were when it last looked.
    changes: Option<u64>,
    /// The newest records of its own tenants, and of others while they are being prepared.
    records: HashMap<Name, Arc<Record>>,
    /// Plugins whose record is newer than what was made of it.
    behind: HashSet<Name>,
    /// Plugins that are being followed.
    busy: HashSet<Name>,
    jobs: JoinSet<(Name, Result<(), FleetError>)>,
    /// Whether the store could be asked the last time.
    is_well: bool,
    beats: u64,
}

impl FleetMember {
    /// Joins: sends a heartbeat, and has the releases loaded that are active. Fails where the store cannot be
    /// asked.
    pub(super) async fn join(
        base: &Arc<HostShared>,
        tenants: &[Arc<Tenant>],
        fleet: Fleet,
        listen: Option<String>,
    ) -> Result<Self, FleetError> {
        let changed = Arc::new(ChangeSignal::default());
        let machine = std::fs::read_to_string(MACHINE).unwrap_or_default();
        let node = Node {
            host: base.name.clone(),
            machine: machine.trim().to_owned(),
            pid: std::process::id(),
            listen,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms: fleet.now_ms(),
            ..Node::default()
        };
        let mut this = Self {
            _listening: fleet.listen(changed.clone()),
            base: base.clone(),
            tenants: tenants.to_vec(),
            fleet,
            node,
            changed,
            changes: None,
            records: HashMap::new(),
            behind: HashSet::new(),
            busy: HashSet::new(),
            jobs: JoinSet::new(),
            is_well: true,
            beats: 0,
        };
        this.beat().await?;
        this.look().await?;
        while let Some(done) = this.jobs.join_next().await {
            this.done(done.ok());
        }
        Ok(this)
    }

    /// Follows until the host stops, then says goodbye.
    pub(super) async fn run(mut self) {
        let stop = self.base.stop.clone();
        let mut beat_at = Instant::now() + BEAT;
        let changed = self.changed.clone();
        loop {
            let is_beat = tokio::select! {
                () = stop.cancelled() => break,
                () = changed.0.notified() => false,
                () = tokio::time::sleep_until(beat_at) => true,
                Some(done) = self.jobs.join_next() => {
                    self.done(done.ok());
                    continue;
                }
            };
            let mut looked = Ok(());
            if is_beat {
                beat_at = Instant::now() + BEAT;
                looked = self.beat().await;
            }
            if looked.is_ok() {
                looked = self.look().await;
            }
            self.log_change(looked);
        }
        // Sent first, so that no deploy waits for this host.
        if tokio::time::timeout(LEAVE_LIMIT, self.fleet.leave(&self.base.name)).await.is_err() {
            tracing::debug!("the fleet was not informed that the host is gone; it notices");
        }
        // What is being followed ends by itself once the host stops.
        while self.jobs.join_next().await.is_some() {}
    }

    /// Announces that the host is alive, and what it cannot run.
    async fn beat(&mut self) -> Result<(), FleetError> {
        let mut node = self.node.clone();
        node.seen_ms = self.fleet.now_ms();
        for tenant in &self.tenants {
            node.plugins += tenant.plugins().len() as u64;
            let fault = |(plugin, fault)| format!("the plugin `{plugin}` of the tenant `{}`: {fault}", tenant.name());
            node.faults.extend(tenant.faults().into_iter().map(fault));
        }
        node.faults.truncate(FAULTS_MAX);
        self.fleet.beat(&node).await?;
        if self.beats.is_multiple_of(BEATS_PER_SWEEP) {
            self.fleet.forget_nodes().await?;
        }
        if self.beats.is_multiple_of(BEATS_PER_RETRY) {
            for tenant in &self.tenants {
                let faulty = tenant.faults().into_iter().map(|(plugin, _)| (tenant.name().to_owned(), plugin));
                self.behind.extend(faulty.filter(|name| self.records.contains_key(name)));
            }
        }
        self.beats += 1;
        Ok(())
    }

    /// Looks what has changed, and sets about following it.
    async fn look(&mut self) -> Result<(), FleetError> {
        let changes = self.fleet.changes().await?;
        if self.changes != Some(changes) {
            let generations = self.fleet.generations().await?;
            self.forget(&generations);
            let is_new = |(name, generation): &(Name, u64)| {
                self.records.get(name).is_none_or(|record| record.generation != *generation)
            };
            let newer: Vec<Name> = generations.into_iter().filter(is_new).map(|(name, _)| name).collect();
            for NamedRecord { tenant, plugin, record } in self.fleet.records(newer).await? {
                let name = (tenant, plugin);
                self.behind.insert(name.clone());
                self.records.insert(name, Arc::new(record));
            }
            self.changes = Some(changes);
        }
        self.follow();
        self.settle().await
    }

    /// Forgets records that are gone, with the fleet that lost them: what runs goes on.
    fn forget(&mut self, generations: &[(Name, u64)]) {
        let known: HashSet<&Name> = generations.iter().map(|(name, _)| name).collect();
        let gone: Vec<Name> = self.records.keys().filter(|name| !known.contains(name)).cloned().collect();
        for name in gone {
            tracing::warn!(tenant = name.0, plugin = name.1, "the store has lost its record: what runs goes on");
            self.records.remove(&name);
            self.behind.remove(&name);
        }
    }

    /// Begins to follow what is behind and not being followed already.
    fn follow(&mut self) {
        let idle: Vec<Name> = self.behind.difference(&self.busy).cloned().collect();
        for name in idle {
            self.behind.remove(&name);
            let Some(record) = self.records.get(&name).cloned() else { continue };
            self.busy.insert(name.clone());
            let fleet = self.fleet.clone();
            let tenant = self.tenants.iter().find(|tenant| tenant.name() == name.0).cloned();
            let host = self.base.name.clone();
            self.jobs.spawn(async move {
                let followed = match tenant {
                    Some(tenant) => tenant.follow(&fleet, &name.1, record).await,
                    None => elsewhere(&fleet, &name, &host, &record).await,
                };
                (name, followed)
            });
        }
    }

    /// Decides about what is being prepared, if all have loaded it.
    async fn settle(&mut self) -> Result<(), FleetError> {
        let preparing = |record: &Record| matches!(record.phase, Phase::Preparing { .. });
        let names: Vec<Name> =
            self.records.iter().filter(|(_, record)| preparing(record)).map(|(name, _)| name.clone()).collect();
        for name in names {
            self.fleet.settle(&name.0, &name.1).await?;
        }
        Ok(())
    }

    /// A plugin was followed; none where its task panicked.
    fn done(&mut self, done: Option<(Name, Result<(), FleetError>)>) {
        let Some((name, followed)) = done else { return };
        self.busy.remove(&name);
        if followed.is_err() {
            // It was not reported; the next look reports it.
            self.behind.insert(name);
            self.log_change(followed);
        } else if self.behind.contains(&name) {
            self.follow();
        }
    }

    /// Logs when the store cannot be asked any more, and when it can again.
    fn log_change(&mut self, looked: Result<(), FleetError>) {
        match looked {
            Ok(()) if self.is_well => {}
            Ok(()) => tracing::info!("the host follows its fleet again"),
            Err(error) if self.is_well => {
                tracing::warn!(%error, "the host cannot follow its fleet: what runs goes on");
                self.is_well = false;
                return;
            }
            Err(_) => return,
        }
        self.is_well = true;
    }
}

/// Reports that a plugin is none of this host's, where that is waited for.
async fn elsewhere(fleet: &Fleet, name: &Name, host: &str, record: &Record) -> Result<(), FleetError> {
    let (Phase::Preparing { .. }, Some(candidate)) = (record.phase, &record.candidate) else { return Ok(()) };
    let (number, digest) = (candidate.release.number, candidate.release.digest.clone());
    let stand = HostRelease { number, digest, state: ReleaseState::Elsewhere };
    let report = Report {
        host: host.to_owned(),
        candidate: Some(stand.clone()),
        trial: Some(stand.clone()),
        active: Some(stand),
    };
    fleet.report(&name.0, &name.1, &report).await
}

/// Wakes the follower.
#[derive(Debug, Default)]
struct ChangeSignal(Notify);

impl Subscriber for ChangeSignal {
    fn message(&self, _: &str, _: Bytes) {
        self.0.notify_one();
    }

    fn listening(&self, is_listening: bool) {
        if is_listening {
            // Something may have been announced before.
            self.0.notify_one();
        }
    }
}
