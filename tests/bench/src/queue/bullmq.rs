//! BullMQ on Node.js.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::{Process, Run, server};

/// The version that is installed.
pub(super) const VERSION: &str = "6.7.0";
/// The client that it speaks to Redis with, which it leaves to be chosen.
const CLIENT: &str = "ioredis@5";

/// An installation.
#[derive(Debug)]
pub(super) struct BullMq {
    folder: PathBuf,
}

impl BullMq {
    /// Installs it below the target folder, unless it is there.
    pub(super) fn install() -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench-bullmq");
        let this = Self { folder };
        let manifest = this.folder.join("node_modules/bullmq/package.json");
        let is_there = |text: String| text.contains(&format!("\"version\": \"{VERSION}\""));
        let has_client = this.folder.join("node_modules/ioredis").is_dir();
        if has_client && fs::read_to_string(&manifest).is_ok_and(is_there) {
            return Ok(this);
        }
        fs::create_dir_all(&this.folder)?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--no-save", &format!("bullmq@{VERSION}"), CLIENT]);
        npm.arg("--prefix").arg(&this.folder).stdin(Stdio::null()).stdout(Stdio::null());
        let status = npm.status().context("npm does not run")?;
        ensure!(status.success(), "npm could not install it");
        Ok(this)
    }

    /// Measures a worker.
    pub(super) fn measure(&self, jobs: u32, concurrency: u32) -> Result<Run> {
        let server = server();
        let status = self.node("fill", server.port(), jobs).status().context("node does not run")?;
        ensure!(status.success(), "it could not add jobs");
        let mut work = self.node("work", server.port(), jobs);
        work.arg(concurrency.to_string());
        Process::start(work)?.time(&server, jobs, |process, _| process.expect("done"))
    }

    fn node(&self, mode: &str, port: u16, jobs: u32) -> Command {
        let mut node = Command::new("node");
        node.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/queue.mjs"));
        node.args([mode, &port.to_string(), &jobs.to_string()]).current_dir(&self.folder);
        node
    }
}
