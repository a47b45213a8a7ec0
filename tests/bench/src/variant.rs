//! What is compared.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::workload::Settings;
use crate::{native, plugin, raw};

/// The share of events that the Python program gets: it is slow, and a rate needs no more.
const PYTHON_SHARE: u32 = 20;
/// The fewest events of a measurement.
const EVENTS_MIN: u32 = 200;

/// One way to do the same work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Variant {
    /// The component in the host, with atomic commit.
    Plugin,
    /// A native consumer with the same commit.
    Native,
    /// The same commands, prepared beforehand and written raw.
    Raw,
    /// One call at a time.
    Python,
}

impl std::fmt::Display for Variant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Variant {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 4] = [Self::Plugin, Self::Native, Self::Raw, Self::Python];

    /// Its name, on the command line and in the last line of the output.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plugin => "plugin",
            Self::Native => "native",
            Self::Raw => "raw",
            Self::Python => "python",
        }
    }

    /// What it is, for the table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Plugin => "(a) plugin in the host, atomic commit",
            Self::Native => "(b) native Rust consumer, the same commit",
            Self::Raw => "(c) the same commands prepared, raw and pipelined",
            Self::Python => "(d) Python asyncio, one call at a time",
        }
    }

    /// Whether its latency is measured: it is not told beforehand what comes, and keeps pace with 1,000 events/s.
    pub(crate) fn has_latency(self) -> bool {
        matches!(self, Self::Plugin | Self::Native)
    }

    /// How many of the events it gets.
    pub(crate) fn events(self, all: u32) -> u32 {
        match self {
            Self::Python => (all / PYTHON_SHARE).max(EVENTS_MIN).min(all),
            Self::Plugin | Self::Native | Self::Raw => all,
        }
    }

    /// The process that works.
    pub(crate) fn command(self, url: &str, settings: &Settings) -> Result<Command> {
        if self == Self::Python {
            let mut python = Command::new("python3");
            python.arg(script()).args([url, &settings.batch.to_string()]);
            return Ok(python);
        }
        let mut this = Command::new(std::env::current_exe().context("this program's own file")?);
        this.args(["work", self.name(), "--url", url]).args(settings.to_arguments());
        Ok(this)
    }

    /// Works, in the process that [`Variant::command`] starts.
    pub(crate) fn work(self, url: &str, settings: &Settings) -> Result<()> {
        match self {
            Self::Plugin => plugin::work(url, settings),
            Self::Native => native::work(url, settings),
            Self::Raw => raw::work(url, settings),
            Self::Python => bail!("the Python program is no part of this one"),
        }
    }
}

fn script() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/original.py")
}

/// Why the Python program cannot run; none where it can.
pub(crate) fn missing_python() -> Option<String> {
    let mut python = Command::new("python3");
    python.args(["-c", "import redis.asyncio"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match python.status() {
        Ok(status) if status.success() => None,
        Ok(_) => Some("python3 has no module `redis` (`pip install redis`)".to_owned()),
        Err(error) => Some(format!("python3 does not run: {error}")),
    }
}
