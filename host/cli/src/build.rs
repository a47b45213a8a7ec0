//! `sandbar build`: components from plugin folders.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytesize::ByteSize;
use clap::Args;
use serde::Serialize;

use super::exit::{Exit, Failure};
use super::screen::Screen;
use crate::builder::{BuildError, Origin, PluginFolder, Progress, TARGET};

/// What `sandbar build` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Plugin folders: each has a plugin.toml, and a Cargo.toml or a component
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
}

/// A component that was made.
#[derive(Debug, Serialize)]
struct Built {
    plugin: String,
    component: PathBuf,
    bytes: u64,
    seconds: f64,
}

/// Builds one after the other. The component is put beside the manifest, where `sandbar run` looks for it.
pub(super) async fn run(arguments: Arguments, screen: &Screen) -> Result<Exit, Failure> {
    for folder in &arguments.folders {
        let plugin = PluginFolder::open(folder).map_err(|error| Failure::from(&error))?;
        let started = Instant::now();
        let made = build(&plugin, screen).await.map_err(|error| {
            let failure = Failure::from(&error);
            Failure { what: with_output(&error, screen), ..failure }
        })?;
        let component = plugin.component();
        if plugin.origin == Origin::Cargo {
            put(&made, &component).map_err(|error| Failure::file("write", &component, &error))?;
        }
        let bytes = fs::metadata(&component).map_err(|error| Failure::file("read", &component, &error))?.len();
        let seconds = started.elapsed().as_secs_f64();
        let built = Built { plugin: plugin.manifest.name, component, bytes, seconds };
        screen.result(&built, || built.line())?;
    }
    Ok(Exit::Done)
}

/// Builds a plugin and shows its progress.
pub(super) async fn build(plugin: &PluginFolder, screen: &Screen) -> Result<PathBuf, BuildError> {
    let screen = screen.clone();
    plugin
        .build(&move |progress| match progress {
            Progress::InstallingTarget => screen.note(format!("installing the target `{TARGET}` of Rust, once")),
            Progress::Line(line) => screen.note(line),
        })
        .await
}

/// What went wrong, and what was printed about it where that has not been shown already.
pub(super) fn with_output(error: &BuildError, screen: &Screen) -> String {
    if screen.shows_notes() || error.output().is_empty() {
        return error.to_string();
    }
    format!("{error}\n{}", error.output())
}

/// Puts a file in place in one step, so that a host that starts meanwhile reads all of it or the one before.
fn put(made: &Path, place: &Path) -> std::io::Result<()> {
    let folder = place.parent().unwrap_or(Path::new("."));
    let new = tempfile::Builder::new().prefix(".sandbar-").suffix(".wasm").tempfile_in(folder)?;
    fs::copy(made, new.path())?;
    new.persist(place)?;
    Ok(())
}

impl Built {
    fn line(&self) -> String {
        let size = ByteSize::b(self.bytes);
        format!("{}: {} ({size}, {:.1} s)", self.plugin, self.component.display(), self.seconds)
    }
}
