//! The process of one variant, so that its CPU time can be measured alone.
//!
//! It prints [`READY`] when it is connected and warm, and begins when a line comes in. It is killed when it is
//! dropped, and ends by itself when its standard input closes, so that it never outlives the benchmark.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cpu;
use crate::variant::Variant;
use crate::workload::Settings;

/// What a process prints when it can begin.
pub(crate) const READY: &str = "ready";

/// A process that works.
#[derive(Debug)]
pub(crate) struct Working {
    child: Child,
    variant: Variant,
}

impl Working {
    /// Starts a process and waits until it is ready.
    pub(crate) fn start(variant: Variant, url: &str, settings: &Settings) -> Result<Self> {
        let mut command = variant.command(url, settings)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = command.spawn().with_context(|| format!("cannot start {variant}"))?;
        let mut this = Self { child, variant };
        let mut line = String::new();
        let stdout = this.child.stdout.take().context("its standard output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        if line.trim() != READY {
            bail!("{variant} did not get ready: {line:?}");
        }
        Ok(this)
    }

    /// Lets it begin.
    pub(crate) fn begin(&mut self) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("its standard input")?;
        stdin.write_all(b"begin\n").and_then(|()| stdin.flush()).context("it does not listen")
    }

    /// The CPU that it has used.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu::used(self.child.id())
    }

    /// Fails where it has ended, which it must not do by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended early: {status}", self.variant),
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says that this process is ready, and waits for the signal to begin. From then on the process ends with its
/// standard input.
pub(crate) fn ready() -> Result<()> {
    println!("{READY}");
    let mut line = String::new();
    if std::io::stdin().lock().read_line(&mut line)? == 0 {
        bail!("the benchmark closed its input before the start");
    }
    std::thread::spawn(|| {
        let _ = std::io::stdin().lock().read_line(&mut String::new());
        #[expect(clippy::exit, reason = "the parent process is gone, and nothing needs to be saved")]
        std::process::exit(0);
    });
    Ok(())
}

/// Waits for the end, which comes from outside.
pub(crate) fn rest() -> ! {
    loop {
        std::thread::park();
    }
}
