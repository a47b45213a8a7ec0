//! `sandbar replay`: runs a version over recorded events, and shows what it would write. Nothing is written, sent,
//! locked or logged.
//!
//! What the events read comes from their recordings, where the trigger has `record = true`, else from the store as it
//! is now. A recording is of one call, so the events of a batch are replayed together. Each call has an instance of
//! its own, and what is random or asks for the time is answered alike each time: the same events give the same
//! output.

mod source;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::Global;
use super::exit::{Exit, Failure};
use super::screen::Screen;
use super::setup::Setup;
use crate::builder::PluginFolder;
use sandbar_core::manifest::{Manifest, OnOutage};
use sandbar_fleet::{Fleet, FleetError};
use sandbar_runtime::outcome::EventOutcome;
use sandbar_runtime::pool::Pool;
use sandbar_runtime::replay::dry_run::{DifferenceKind, DryRun, compare, dry_run};
use sandbar_runtime::replay::{Recording, effect};
use sandbar_server::host::{Host, MANIFEST_NAME, Tenant};
use sandbar_store::{Store, embedded::Embedded};
use source::{RecordingSource, ReplayOptions};

/// The longest line of a file with recordings.
const LINE_BYTES_MAX: usize = 16 << 20;

/// What `sandbar replay` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The plugin: its name in the configuration, or its folder
    #[arg(value_name = "PLUGIN")]
    plugin: String,
    /// The component; by default the one that `sandbar build` puts into the folder
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// The manifest; by default that of the folder
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    #[command(flatten)]
    place: ReplayOptions,
    /// The first event; by default the oldest that is known
    #[arg(long, value_name = "ID", default_value = "0")]
    from: String,
    /// How many events
    #[arg(long, value_name = "EVENTS", default_value_t = 100)]
    count: usize,
    /// Replay dead letters; ids are those of the dead letters
    #[arg(long)]
    dead: bool,
    /// Show only what differs from another version: a component's file, or the beginning of the digest of a version
    /// that was deployed
    #[arg(long, value_name = "VERSION|FILE")]
    against: Option<String>,
    /// Keep the events with what they read in a file, to replay them later without a store
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// Replay what was kept in a file; no store is asked
    #[arg(long, value_name = "FILE", conflicts_with_all = ["stream", "queue", "dead", "from"])]
    from_file: Option<PathBuf>,
}

/// What became of one call.
#[derive(Debug, Serialize)]
struct ReplayReport<'a> {
    events: Vec<&'a str>,
    outcomes: &'a [EventOutcome],
    effects: Vec<Value>,
    /// What the recording did not know, and was read live or not answered.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    unknown: &'a [String],
}

/// One difference of two versions.
#[derive(Debug, Serialize)]
struct Differs<'a> {
    events: Vec<&'a str>,
    kind: DifferenceKind,
    against: &'a Value,
    version: &'a Value,
}

/// Does what the arguments say.
pub(super) async fn run(arguments: Arguments, global: &Global, screen: &Screen) -> Result<Exit, Failure> {
    let setup = Setup::find(global)?;
    let (manifest, component) = plugin(&arguments, &setup)?;
    let store: Arc<dyn Store> = match arguments.from_file {
        Some(_) => Arc::new(Embedded::new()),
        None => setup.connect_shared("replay").await?,
    };
    let recordings = match &arguments.from_file {
        Some(path) => kept(path)?,
        None => {
            let source = RecordingSource::new(&store, setup.prefix(), &manifest.name, &arguments.place)?;
            let from = source::order(&arguments.from)
                .ok_or_else(|| Failure::new(Exit::Usage, format_args!("`{}` is no id of an event", arguments.from)))?;
            if arguments.dead {
                source.dead(from, arguments.count).await?
            } else {
                source.events(from, arguments.count).await?
            }
        }
    };
    if recordings.is_empty() {
        screen.note("there are no such events");
    }
    let mut export = arguments.export.as_deref().map(create).transpose()?;
    let host = Host::start(setup.config.clone(), store.clone()).await.map_err(|error| Failure::from(&error))?;
    let tenant = host.tenant(&setup.tenant().name).map_err(|error| Failure::from(&error))?;
    let version = alike(tenant, manifest.clone(), read(&component)?).await?;
    let against = match &arguments.against {
        Some(against) => Some(other(against, tenant, &setup, &store, &manifest).await?),
        None => None,
    };
    let mut differences = 0_u64;
    for recording in &recordings {
        if let Some((file, path)) = &mut export {
            let line = serde_json::to_string(recording).map_err(|error| Failure::new(Exit::Failed, error))?;
            writeln!(file, "{line}").map_err(|error| Failure::file("write", path, &error))?;
        }
        let dry_run = go_through(&version, recording).await?;
        match &against {
            None => report(recording, &dry_run, screen)?,
            Some(against) => {
                let active = go_through(against, recording).await?;
                for difference in compare(&active.side, &dry_run.side) {
                    differences += 1;
                    let at = difference.event.map_or(0..recording.events.len(), |at| at..at + 1);
                    let events = recording.events.get(at).unwrap_or_default();
                    let line_report = Differs {
                        events: events.iter().map(|event| event.id.as_str()).collect(),
                        kind: difference.kind,
                        against: &difference.active,
                        version: &difference.candidate,
                    };
                    line(&line_report, screen)?;
                }
            }
        }
    }
    if against.is_some() {
        let events: usize = recordings.iter().map(|recording| recording.events.len()).sum();
        screen.note(format!("{events} events, {differences} differences"));
    }
    host.shutdown().await;
    Ok(Exit::Done)
}

fn report(recording: &Recording, dry_run: &DryRun, screen: &Screen) -> Result<(), Failure> {
    let line_report = ReplayReport {
        events: recording.events.iter().map(|event| event.id.as_str()).collect(),
        outcomes: &dry_run.side.outcomes,
        effects: dry_run.side.effects.iter().map(effect).collect(),
        unknown: &dry_run.questions,
    };
    line(&line_report, screen)
}

/// Prints JSON, whether or not it is asked for: that is what it is for.
fn line(report: &impl Serialize, screen: &Screen) -> Result<(), Failure> {
    screen.result(report, || serde_json::to_string(report).unwrap_or_default())
}

/// Has a version handle the events of a recording.
async fn go_through(pool: &Pool, recording: &Recording) -> Result<DryRun, Failure> {
    dry_run(pool, recording).await.map_err(|error| Failure::new(Exit::Failed, error))
}

/// The manifest and the component that the arguments name.
fn plugin(arguments: &Arguments, setup: &Setup) -> Result<(Manifest, PathBuf), Failure> {
    let named = Path::new(&arguments.plugin);
    let opened = |path: &Path| PluginFolder::open(path).map_err(|error| Failure::from(&error));
    let folder = if named.join(MANIFEST_NAME).is_file() {
        Some(opened(named)?)
    } else {
        let tenant = &setup.tenant().name;
        let found = setup
            .plugins()?
            .into_iter()
            .find(|placed| placed.tenant == *tenant && placed.folder.manifest.name == arguments.plugin);
        found.map(|placed| placed.folder)
    };
    let manifest = match (&arguments.manifest, &folder) {
        (Some(path), _) => {
            let text = std::fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
            Manifest::parse(&text).map_err(|error| {
                Failure::new(Exit::Config, format_args!("`{}` is no manifest: {error}", path.display()))
            })?
        }
        (None, Some(folder)) => folder.manifest.clone(),
        (None, None) => {
            let what = format!("there is no plugin `{}` in {}, and no such folder", arguments.plugin, setup.called);
            return Err(
                Failure::new(Exit::Usage, what).help("name a plugin of the configuration, a folder, or --manifest")
            );
        }
    };
    let component = match (&arguments.component, folder) {
        (Some(path), _) => path.clone(),
        (None, Some(folder)) => folder.component(),
        (None, None) => return Err(Failure::new(Exit::Usage, "name the component with --component")),
    };
    Ok((manifest, component))
}

/// Instances that are alike, and know no way out.
async fn alike(tenant: &Tenant, manifest: Manifest, bytes: Vec<u8>) -> Result<Pool, Failure> {
    let manifest = Manifest { on_outage: OnOutage::Fail, ..manifest };
    let pool = tenant.instances(manifest, bytes).await.map_err(|error| Failure::from(&error))?;
    Ok(pool.alike())
}

/// The version to compare with.
async fn other(
    named: &str,
    tenant: &Tenant,
    setup: &Setup,
    store: &Arc<dyn Store>,
    manifest: &Manifest,
) -> Result<Pool, Failure> {
    let path = Path::new(named);
    if path.is_file() {
        return alike(tenant, manifest.clone(), read(path)?).await;
    }
    let fleet = Fleet::new(store.clone(), &setup.config.fleet.prefix);
    let asked = |error| Failure::fleet(&format!("find the version `{named}`"), &error);
    let record = fleet.record(tenant.name(), &manifest.name).await.map_err(asked)?;
    let unknown = || {
        Failure::new(Exit::Failed, format_args!("`{named}` is no file, and no version that was deployed"))
            .help(format_args!("sandbar plugins {} tells which were", manifest.name))
    };
    let record = record.ok_or_else(unknown)?;
    let release = record.release(named).map_err(|error| match error {
        FleetError::NoRelease { .. } => unknown(),
        other => asked(other),
    })?;
    let bytes = fleet.component(&release.digest).await.map_err(asked)?.ok_or_else(unknown)?;
    let manifest = Manifest::parse(&release.manifest).map_err(|error| Failure::new(Exit::Failed, error))?;
    alike(tenant, manifest, bytes.into()).await
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::file("read", path, &error))
}

fn create(path: &Path) -> Result<(File, &Path), Failure> {
    File::create(path).map(|file| (file, path)).map_err(|error| Failure::file("write", path, &error))
}

/// The recordings of a file, one on each line.
fn kept(path: &Path) -> Result<Vec<Recording>, Failure> {
    let file = File::open(path).map_err(|error| Failure::file("read", path, &error))?;
    let mut recordings = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|error| Failure::file("read", path, &error))?;
        let odd = |reason: String| {
            Failure::new(Exit::Input, format_args!("`{}`, line {}: {reason}", path.display(), number + 1))
        };
        if line.len() > LINE_BYTES_MAX {
            return Err(odd(format!("longer than {LINE_BYTES_MAX} bytes")));
        }
        recordings.push(serde_json::from_str(&line).map_err(|error| odd(format!("not a recording: {error}")))?);
    }
    Ok(recordings)
}
