//! The plugins that a fleet of hosts runs, as they are kept in its store.
//!
//! There is no leader. A deploy writes the component and a record that names it as candidate; every living host loads
//! it and reports. The first that sees all reports makes it active by comparing and setting the record, and all hosts
//! follow the record. Works on a [`Store`] alone, so hosts, the command line and the HTTP API share it. Keys are the
//! fleet's own, outside of all tenants:
//!
//! | key | what it holds |
//! | --- | --- |
//! | `sandbar:fleet:plugin:{tenant}:{plugin}` | the [`Record`], as JSON |
//! | `sandbar:fleet:plugins` | a hash from each `{tenant}:{plugin}` to the generation of its record |
//! | `sandbar:fleet:component:{digest}` | the bytes of a component |
//! | `sandbar:fleet:components` | a set of the digests of all components |
//! | `sandbar:fleet:catalogue` | counts the deploys, so that no component is collected that is just being deployed |
//! | `sandbar:fleet:nodes` | a hash from each host to its [`Node`], as JSON |
//! | `sandbar:fleet:report:{tenant}:{plugin}` | a hash from each host to its [`Report`], as JSON |
//! | `sandbar:fleet:changes` | counts the changes of records; also the channel that announces changes and reports |

pub mod authenticator;
mod collect;
mod deploy;
mod error;
mod node;
mod record;
pub mod token_registry;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use deploy::{Deploy, DeployOutcome, Deployed, HostOutcome, WAIT_DEFAULT, WAIT_MAX};
pub use error::FleetError;
pub use node::{ALIVE_MS, FAULTS_MAX, HEARTBEAT_MS, HostRelease, LISTED_MS, Node, ReleaseState, Report};
pub use record::{Candidate, DIGEST_MIN, EndReason, EndedRelease, HISTORY_MAX, HostFailure, Phase, Record, Release};

use sandbar_runtime::rollout::FailedProbation;
use sandbar_store::{
    Commit, CommitError, Condition, Effect, Expiry, Field, Store, StoreError, Subject, Subscriber, Subscription,
};

/// The most bytes in the text of a manifest.
pub const MANIFEST_BYTES_MAX: usize = 64 << 10;
/// The most characters of what people write: who they are, and why.
pub const WORDS_MAX: usize = 500;
/// How often a change is tried again because another client changed the record in between.
const ATTEMPTS_MAX: u32 = 8;
/// How many records are read at once.
const READ_MAX: usize = 100;
/// The most plugins of all tenants of a fleet, those that were removed included.
pub const PLUGINS_MAX: u64 = 5000;
/// How long a waiter for hosts pauses between two looks without an announcement.
const LOOK: Duration = Duration::from_millis(100);

/// The plugins of a fleet; cheap to clone.
#[derive(Debug, Clone)]
pub struct Fleet {
    store: Arc<dyn Store>,
    begin: Arc<str>,
}

/// A plugin of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedRecord {
    /// The tenant.
    pub tenant: String,
    /// The plugin.
    pub plugin: String,
    /// What the fleet knows of it.
    pub record: Record,
}

impl Fleet {
    /// The fleet that meets in a store. `prefix` goes before all of its keys.
    pub fn new(store: Arc<dyn Store>, prefix: &str) -> Self {
        Self { store, begin: format!("{prefix}sandbar:fleet:").into() }
    }

    /// What is known of a plugin.
    pub async fn record(&self, tenant: &str, plugin: &str) -> Result<Option<Record>, FleetError> {
        Ok(self.read(tenant, plugin).await?.map(|(_, record)| record))
    }

    /// The plugins of a tenant, or of all, by name; those that were removed too.
    pub async fn plugins(&self, tenant: Option<&str>) -> Result<Vec<NamedRecord>, FleetError> {
        let mut names: Vec<(String, String)> = self.generations().await?.into_iter().map(|(name, _)| name).collect();
        names.retain(|(owner, _)| tenant.is_none_or(|tenant| tenant == owner));
        names.sort_unstable();
        self.records(names).await
    }

    /// What is known of these plugins of these tenants; unknown ones are skipped.
    pub async fn records(&self, names: Vec<(String, String)>) -> Result<Vec<NamedRecord>, FleetError> {
        let keys: Vec<String> = names.iter().map(|(tenant, plugin)| self.plugin_key(tenant, plugin)).collect();
        let mut values = Vec::with_capacity(keys.len());
        for keys in keys.chunks(READ_MAX) {
            values.append(&mut self.store.get_many(keys).await?);
        }
        let mut listed = Vec::with_capacity(names.len());
        for (((tenant, plugin), key), value) in names.into_iter().zip(&keys).zip(values) {
            if let Some(value) = value {
                listed.push(NamedRecord { tenant, plugin, record: parse(key, &value)? });
            }
        }
        Ok(listed)
    }

    /// The bytes of a component.
    pub async fn component(&self, digest: &str) -> Result<Option<Bytes>, FleetError> {
        Ok(self.store.get(&self.component_key(digest)).await?)
    }

    /// The hosts, by id: those that are alive, and for [`LISTED_MS`] those that are not any more.
    pub async fn nodes(&self) -> Result<Vec<Node>, FleetError> {
        let now_ms = self.now_ms();
        let key = self.key("nodes");
        let fields = self.store.hash_get_all(&key).await?;
        let mut nodes: Vec<Node> = fields.iter().map(|field| parse(&key, &field.value)).collect::<Result<_, _>>()?;
        nodes.iter_mut().for_each(|node| node.alive = node.is_alive(now_ms));
        nodes.retain(|node| node.is_listed(now_ms));
        nodes.sort_unstable_by(|a, b| a.host.cmp(&b.host));
        Ok(nodes)
    }

    /// What the hosts have made of the releases of a plugin, by id.
    pub async fn reports(&self, tenant: &str, plugin: &str) -> Result<Vec<Report>, FleetError> {
        let key = self.report_key(tenant, plugin);
        let fields = self.store.hash_get_all(&key).await?;
        let mut reports: Vec<Report> =
            fields.iter().map(|field| parse(&key, &field.value)).collect::<Result<_, _>>()?;
        reports.sort_unstable_by(|a, b| a.host.cmp(&b.host));
        Ok(reports)
    }

    /// Goes back to an older release, as [`Record::rollback`] says, and answers what is known then. Hosts that run
    /// follow at once.
    pub async fn rollback(
        &self,
        tenant: &str,
        plugin: &str,
        to: Option<&str>,
        by: &str,
        reason: &str,
    ) -> Result<Record, FleetError> {
        let (by, reason) = (words(by), words(reason));
        self.change(tenant, plugin, |record, now_ms| record.rollback(to, &by, &reason, now_ms)).await
    }

    /// Makes the release active that is on trial.
    pub async fn promote(&self, tenant: &str, plugin: &str) -> Result<Record, FleetError> {
        self.change(tenant, plugin, Record::promote).await
    }

    /// Ends the trial of a release, or calls its deploy off.
    pub async fn end_trial(&self, tenant: &str, plugin: &str, by: &str, reason: &str) -> Result<Record, FleetError> {
        let (by, reason) = (words(by), words(reason));
        self.change(tenant, plugin, |record, now_ms| record.end_trial(&by, &reason, now_ms)).await
    }

    /// Takes a plugin away from all hosts. Hosts that have it in a folder run that version then.
    pub async fn remove(&self, tenant: &str, plugin: &str, by: &str) -> Result<Record, FleetError> {
        let by = words(by);
        self.change(tenant, plugin, |record, now_ms| record.remove(&by, now_ms)).await
    }

    /// Takes a release back, by its number, that a host has found not good enough. None where it is not active or
    /// tried any more.
    pub async fn fail_probation(
        &self,
        tenant: &str,
        plugin: &str,
        number: u64,
        failed_probation: &FailedProbation,
        host: &str,
    ) -> Result<Option<Record>, FleetError> {
        let over = FleetError::NothingBefore;
        let fail_probation =
            |record: Record, now_ms| record.fail_probation(number, failed_probation, host, now_ms).ok_or(over.clone());
        match self.change(tenant, plugin, fail_probation).await {
            Ok(record) => Ok(Some(record)),
            Err(error) if error == over => Ok(None),
            Err(FleetError::NoPlugin { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All plugins of all tenants that were ever deployed, with the generations of their records.
    pub async fn generations(&self) -> Result<Vec<((String, String), u64)>, FleetError> {
        let key = self.key("plugins");
        let mut found = Vec::new();
        for field in self.store.hash_get_all(&key).await? {
            let generation = parse(&key, &field.value)?;
            if let Some((tenant, plugin)) = field.name.split_once(':') {
                found.push(((tenant.to_owned(), plugin.to_owned()), generation));
            }
        }
        Ok(found)
    }

    /// How often records have changed so far.
    pub async fn changes(&self) -> Result<u64, FleetError> {
        let key = self.key("changes");
        let Some(value) = self.store.get(&key).await? else { return Ok(0) };
        parse(&key, &value)
    }

    /// Notifies a listener when records or reports may have changed, until the subscription is dropped.
    pub fn listen(&self, listener: Arc<dyn Subscriber>) -> Subscription {
        self.store.subscribe(Subject::Channel(self.key("changes")), listener)
    }

    /// Announces that a host is alive.
    pub async fn beat(&self, node: &Node) -> Result<(), FleetError> {
        let fields = vec![Field::new(node.host.as_str(), json(node))];
        self.commit(&[Effect::HashSet { key: self.key("nodes"), fields }], &[]).await
    }

    /// Forgets hosts without a heartbeat for [`LISTED_MS`].
    pub async fn forget_nodes(&self) -> Result<(), FleetError> {
        let (key, now_ms) = (self.key("nodes"), self.now_ms());
        let fields = self.store.hash_get_all(&key).await?;
        let is_old = |field: &Field| parse::<Node>(&key, &field.value).map_or(true, |node| !node.is_listed(now_ms));
        let names: Vec<String> = fields.into_iter().filter(is_old).map(|field| field.name).collect();
        if names.is_empty() {
            return Ok(());
        }
        self.commit(&[Effect::HashDelete { key, names }], &[]).await
    }

    /// Announces that a host is gone.
    pub async fn leave(&self, host: &str) -> Result<(), FleetError> {
        let left = Effect::HashDelete { key: self.key("nodes"), names: vec![host.to_owned()] };
        let effects = [left, self.announcement()];
        self.commit(&effects, &[]).await
    }

    /// Reports the state of the releases of a plugin on a host.
    pub async fn report(&self, tenant: &str, plugin: &str, report: &Report) -> Result<(), FleetError> {
        let fields = vec![Field::new(report.host.as_str(), json(report))];
        let mut effects = vec![Effect::HashSet { key: self.report_key(tenant, plugin), fields }];
        effects.push(self.announcement());
        self.commit(&effects, &[]).await
    }

    /// Milliseconds since 1970 by the store's clock.
    pub fn now_ms(&self) -> u64 {
        self.store.now_ms()
    }

    /// Changes a record that is there.
    pub(crate) async fn change(
        &self,
        tenant: &str,
        plugin: &str,
        decide: impl Fn(Record, u64) -> Result<Record, FleetError>,
    ) -> Result<Record, FleetError> {
        let none = || FleetError::NoPlugin { tenant: tenant.to_owned(), plugin: plugin.to_owned() };
        let decide = |record: Option<Record>, now_ms| decide(record.ok_or_else(none)?, now_ms);
        self.write(tenant, plugin, decide, &[]).await
    }

    /// Writes the record that is decided upon, with more effects in the same commit, unless somebody has changed it
    /// in between: then it is decided anew.
    async fn write(
        &self,
        tenant: &str,
        plugin: &str,
        decide: impl Fn(Option<Record>, u64) -> Result<Record, FleetError>,
        more: &[Effect],
    ) -> Result<Record, FleetError> {
        let key = self.plugin_key(tenant, plugin);
        for _ in 0..ATTEMPTS_MAX {
            let (before, record) = self.read(tenant, plugin).await?.unzip();
            let next = decide(record, self.now_ms())?;
            let value = Bytes::from(json(&next));
            let mut effects = more.to_vec();
            effects.push(set(key.clone(), value.clone()));
            let generation = vec![Field::new(format!("{tenant}:{plugin}"), json(&next.generation))];
            effects.push(Effect::HashSet { key: self.key("plugins"), fields: generation });
            effects.push(Effect::Add { key: self.key("changes"), by: 1 });
            effects.push(self.announcement());
            match self.commit(&effects, &[(key.clone(), before)]).await {
                Ok(()) => return Ok(next),
                Err(FleetError::Commit(CommitError::Conflict(_))) => {}
                Err(FleetError::Commit(CommitError::Unknown(error))) => {
                    // No other host writes the same bytes: the generation counts, and the release says who and when.
                    if self.store.get(&key).await?.as_ref() == Some(&value) {
                        return Ok(next);
                    }
                    return Err(FleetError::Commit(CommitError::Unknown(error)));
                }
                Err(error) => return Err(error),
            }
        }
        Err(FleetError::Changed)
    }

    async fn read(&self, tenant: &str, plugin: &str) -> Result<Option<(Bytes, Record)>, FleetError> {
        let key = self.plugin_key(tenant, plugin);
        let Some(value) = self.store.get(&key).await? else { return Ok(None) };
        let record = parse(&key, &value)?;
        Ok(Some((value, record)))
    }

    /// Notifies all subscribers of a change.
    fn announcement(&self) -> Effect {
        Effect::Publish { channel: self.key("changes"), payload: Bytes::new() }
    }

    async fn commit(&self, effects: &[Effect], watched: &[(String, Option<Bytes>)]) -> Result<(), FleetError> {
        let committed = self.store.commit(Commit::plain(effects, watched)).await.map_err(FleetError::Commit)?;
        match committed.refused.into_iter().next() {
            None => Ok(()),
            Some(refused) => {
                let key = effects.get(refused.effect).map_or("", Effect::key).to_owned();
                Err(FleetError::Damaged { key, reason: refused.error })
            }
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.begin)
    }

    fn plugin_key(&self, tenant: &str, plugin: &str) -> String {
        self.key(&format!("plugin:{tenant}:{plugin}"))
    }

    fn report_key(&self, tenant: &str, plugin: &str) -> String {
        self.key(&format!("report:{tenant}:{plugin}"))
    }

    fn component_key(&self, digest: &str) -> String {
        self.key(&format!("component:{digest}"))
    }
}

fn set(key: String, value: Bytes) -> Effect {
    Effect::Set { key, value, expiry: Expiry::Never, condition: Condition::Always }
}

/// What people write, without what a terminal would not show and as long as it may be.
fn words(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(WORDS_MAX).collect()
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // The types here have text keys and nothing else that JSON lacks.
    serde_json::to_vec(value).unwrap_or_default()
}

fn parse<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, FleetError> {
    serde_json::from_slice(value)
        .map_err(|error| FleetError::Damaged { key: key.to_owned(), reason: error.to_string() })
}

/// The store cannot be asked: wait and try again.
impl FleetError {
    /// Whether the same may succeed later, unchanged.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Commit(CommitError::Refused(error) | CommitError::Unknown(error)) => StoreError::is_transient(error),
            _ => false,
        }
    }
}
