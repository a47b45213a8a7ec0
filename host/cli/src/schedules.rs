//! `sandbar schedules`: when the ticks of the configured plugins are due, and what became of the last ones.

use std::time::{Duration, UNIX_EPOCH};

use clap::Args;

use super::Global;
use super::exit::{Exit, Failure};
use super::screen::Screen;
use super::setup::Opened;
use sandbar_core::manifest::Manifest;
use sandbar_server::admin::schedules::{self, Due};
use sandbar_server::host::MANIFEST_NAME;
use sandbar_triggers::schedule::Run;

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

/// Does what the arguments say.
pub(super) async fn run(arguments: Arguments, global: &Global, screen: &Screen) -> Result<Exit, Failure> {
    let Opened { setup, store } = Opened::shared("schedules", global).await?;
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
        let found = schedules::of(&*store, setup.prefix(), &manifest, arguments.runs).await;
        for due in found.map_err(|error| Failure::from(&error))? {
            is_none = false;
            screen.result(&due, || page(&due))?;
        }
    }
    if is_none {
        screen.note(format!("{} has no plugins with schedules", setup.called));
    }
    Ok(Exit::Done)
}

fn page(due: &Due) -> String {
    let next = due.next_ms.map_or("never".to_owned(), time);
    let running = due.running_on.as_ref().map_or(String::new(), |host| format!(", runs on {host}"));
    let mut lines = vec![format!("{} {}  next {next}{running}", due.plugin, due.schedule)];
    for run in &due.runs {
        let Run { tick, duration_ms, host, outcome, error, skipped, .. } = run;
        let skipped = if *skipped > 0 { format!(", {skipped} skipped before") } else { String::new() };
        let error = error.as_ref().map_or(String::new(), |error| format!(": {}", error.escape_debug()));
        let word = outcome.word();
        lines.push(format!("  {}  {word} in {duration_ms} ms on {host}{skipped}{error}", time(*tick)));
    }
    lines.join("\n")
}

fn time(ms: u64) -> String {
    // Years behind 9999 have no such form, and any client of the store can write them.
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(ms)).filter(|_| ms < 253_402_300_800_000);
    time.map_or_else(|| ms.to_string(), |time| humantime::format_rfc3339_millis(time).to_string())
}
