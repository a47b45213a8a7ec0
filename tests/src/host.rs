//! A host in the test's own process, with one plugin, and a look into what it does.

use std::sync::Arc;
use std::time::Duration;

use sandbar_core::config::Config;
use sandbar_core::manifest::Manifest;
use sandbar_server::host::Host;
use sandbar_store::embedded::Embedded;
use sandbar_store::{Commit, Effect, Entry, EntryId, Field, Retention, Settlement, Store};

use crate::poll_until;

/// How long anything that a test waits for may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A host that runs one plugin on a store.
#[derive(Debug)]
pub struct TestHost {
    /// The host.
    pub host: Host,
    /// Its store.
    pub store: Arc<dyn Store>,
    stream: String,
}

impl TestHost {
    /// A host on an embedded store.
    pub async fn embedded(component: &str, manifest: &str) -> Self {
        Self::on(Arc::new(Embedded::new()), component, manifest).await
    }

    /// A host on a store. The manifest's trigger is to read the stream `events`.
    pub async fn on(store: Arc<dyn Store>, component: &str, manifest: &str) -> Self {
        Self::with(Config::default(), store, component, manifest).await
    }

    /// The same with a configuration.
    pub async fn with(config: Config, store: Arc<dyn Store>, component: &str, manifest: &str) -> Self {
        let host = Host::start(config, store.clone()).await.unwrap();
        let this = Self { host, store, stream: "events".to_owned() };
        this.load(component, manifest).await.unwrap();
        this
    }

    /// The same test, where the manifest's trigger reads another stream.
    #[must_use]
    pub fn reading(self, stream: &str) -> Self {
        Self { stream: stream.to_owned(), ..self }
    }

    /// Loads or replaces the plugin.
    pub async fn load(&self, component: &str, manifest: &str) -> Result<(), sandbar_server::host::HostError> {
        let manifest = Manifest::parse(manifest).unwrap();
        self.host.load_bytes(manifest, std::fs::read(component).unwrap()).await
    }

    /// Appends events, each a list of fields.
    pub async fn feed(&self, events: &[&[(&str, &str)]]) {
        feed(&*self.store, &self.stream, events).await;
    }

    /// Waits until so many events are settled: done, or dead.
    pub async fn settled(&self, count: u64) {
        poll_until(PATIENCE, "all events are settled", async || {
            let snapshot = self.host.plugins()[0].metrics.snapshot();
            snapshot.done + snapshot.dead >= count
        })
        .await;
    }

    /// The plain value of a key, as text.
    pub async fn value(&self, key: &str) -> Option<String> {
        let value = self.store.get(key).await.unwrap();
        value.map(|value| String::from_utf8(value.to_vec()).unwrap())
    }

    /// The dead letters of the stream.
    pub async fn dead(&self) -> Vec<Entry> {
        self.store.range(&format!("{}:dead", self.stream), EntryId::ZERO, EntryId::MAX, 1000, false).await.unwrap()
    }

    /// The reasons of the dead letters.
    pub async fn reasons(&self) -> Vec<String> {
        self.dead().await.iter().map(|dead_letter| text(dead_letter, "reason")).collect()
    }
}

/// A manifest named `guest` with a stream trigger on `events`; `trigger` are more lines of it, `rest` what follows.
pub fn manifest(trigger: &str, rest: &str) -> String {
    format!("name = \"guest\"\n[[trigger]]\ntype = \"stream\"\nstream = \"events\"\nstart = \"0\"\n{trigger}\n{rest}\n")
}

/// A manifest that asks for everything below its prefix.
pub fn open_manifest(trigger: &str, rest: &str) -> String {
    manifest(trigger, &format!("[grants]\nread = [\"*\"]\nwrite = [\"*\"]\npublish = [\"*\"]\n{rest}"))
}

/// Appends events to a stream.
pub async fn feed(store: &dyn Store, stream: &str, events: &[&[(&str, &str)]]) {
    let effects: Vec<Effect> = events
        .iter()
        .map(|event| Effect::Append {
            stream: stream.to_owned(),
            fields: event.iter().map(|(name, value)| Field::new(*name, value.to_string())).collect(),
            retention: Retention::Unlimited,
        })
        .collect();
    let commit = Commit {
        consumer: None,
        watched: &[],
        effects: &effects,
        settlement: Settlement::default(),
        leases: &[],
        atomic: true,
    };
    store.commit(commit).await.unwrap();
}

/// A field of an entry, as text.
pub fn text(entry: &Entry, name: &str) -> String {
    let field = entry.fields.iter().find(|field| field.name == name);
    field.map(|field| String::from_utf8_lossy(&field.value).into_owned()).unwrap_or_default()
}
