//! What memory a process has.

use anyhow::{Context, Result};

/// The memory of a process, in MiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// All that it has in memory.
    pub(crate) resident_mib: f64,
    /// What of that is in no file, and so cannot be had again but by swapping.
    pub(crate) anonymous_mib: f64,
}

impl Memory {
    /// That of a process.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let mib = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).context("its memory")?;
            let kib: f64 = line.trim().trim_end_matches(" kB").parse().context("its memory")?;
            Ok::<_, anyhow::Error>(kib / 1024.0)
        };
        Ok(Self { resident_mib: mib("Rss:")?, anonymous_mib: mib("Anonymous:")? })
    }

    /// What of it is in files.
    pub(crate) fn file_mib(&self) -> f64 {
        self.resident_mib - self.anonymous_mib
    }
}
