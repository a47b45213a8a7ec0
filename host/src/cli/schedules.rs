//! `sandbar schedules`: when the ticks of the configured plugins are due, and what became of the last ones.

use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use serde::Serialize;

use super::Global;
use super::exit::{Exit, Failure};
use super::screen::Screen;
use super::setup::Setup;
use crate::host::MANIFEST_NAME;
use crate::manifest::{Manifest, ScheduleTrigger, Trigger};
use crate::store::{Holder, Store, StoreError};
use crate::trigger::schedule::{Keys, Run, parse_last};

/// What `sandbar schedules` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How many of the last runs are shown of each
    #[arg(long, default_value_t = 5, value_name = "RUNS")]
    runs: u32,
    /// Only those of this plugin
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,
}

/// A schedule, as it is told.
#[derive(Debug, Serialize)]
struct Told {
    plugin: String,
    schedule: String,
    /// The next tick after now.
    next_ms: Option<u64>,
    /// The last tick that was run or left out; none where no host has begun with it.
    last_ms: Option<u64>,
    /// The host that runs a tick now.
    running_on: Option<String>,
    /// The newest first.
    runs: Vec<Run>,
}

impl Told {
    fn page(&self) -> String {
        let next = self.next_ms.map_or("never".to_owned(), time);
        let running = self.running_on.as_ref().map_or(String::new(), |host| format!(", runs on {host}"));
        let mut lines = vec![format!("{} {}  next {next}{running}", self.plugin, self.schedule)];
        for run in &self.runs {
            let Run { tick, duration_ms, host, outcome, error, left_out, .. } = run;
            let left_out = if *left_out > 0 { format!(", {left_out} left out before") } else { String::new() };
            let error = error.as_ref().map_or(String::new(), |error| format!(": {}", error.escape_debug()));
            let word = outcome.word();
            lines.push(format!("  {}  {word} in {duration_ms} ms on {host}{left_out}{error}", time(*tick)));
        }
        lines.join("\n")
    }
}

/// Does what the arguments say.
pub(super) async fn run(arguments: Arguments, global: &Global, screen: &Screen) -> Result<Exit, Failure> {
    let setup = Setup::find(global)?;
    let store = setup.connect_shared("schedules").await?;
    let mut is_none = true;
    for (_, folder) in setup.config.folders().filter(|(tenant, _)| tenant.name == setup.tenant().name) {
        let path = setup.path(folder).join(MANIFEST_NAME);
        let text = std::fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error))?;
        let manifest = Manifest::parse(&text).map_err(|error| {
            Failure::new(Exit::Config, format_args!("`{}` is no manifest: {error}", path.display()))
        })?;
        if arguments.plugin.as_ref().is_some_and(|plugin| *plugin != manifest.name) {
            continue;
        }
        for trigger in &manifest.triggers {
            if let Trigger::Schedule(trigger) = trigger {
                is_none = false;
                let keys = Keys::new(setup.prefix(), &manifest.name, &trigger.name);
                let told = look(&*store, &manifest.name, trigger, &keys, arguments.runs).await;
                let told = told.map_err(|error| Failure::store("look at a schedule", &error))?;
                screen.result(&told, || told.page())?;
            }
        }
    }
    if is_none {
        screen.note(format!("{} has no plugins with schedules", setup.called));
    }
    Ok(Exit::Done)
}

async fn look(
    store: &dyn Store,
    plugin: &str,
    trigger: &ScheduleTrigger,
    keys: &Keys,
    runs: u32,
) -> Result<Told, StoreError> {
    let last = store.get(&keys.last).await?;
    let newest = if runs == 0 { Vec::new() } else { store.list_range(&keys.history, 0, i64::from(runs) - 1).await? };
    let running_on = store.look(&keys.lock).await?.and_then(|locked| Holder::parse(&locked.value));
    Ok(Told {
        plugin: plugin.to_owned(),
        schedule: trigger.name.clone(),
        next_ms: trigger.times().ok().and_then(|times| times.after(store.now_ms())),
        last_ms: last.and_then(|last| parse_last(&last)),
        running_on: running_on.map(|holder| holder.host),
        runs: newest.iter().filter_map(|line| Run::parse(line)).collect(),
    })
}

fn time(ms: u64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(ms));
    time.map_or_else(|| ms.to_string(), |time| humantime::format_rfc3339_millis(time).to_string())
}
