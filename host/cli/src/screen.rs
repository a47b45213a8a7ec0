//! All that the program prints.
//!
//! Results go to standard output; remarks, errors, log lines and the live line go to standard error. The live line
//! stays below everything else: it is taken away while another line is written.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use indicatif::ProgressBar;
use parking_lot::Mutex;
use serde::Serialize;
use tracing_subscriber::fmt::MakeWriter;

use super::exit::Failure;

/// Where all output goes; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Screen(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    json: bool,
    quiet: bool,
    live: Mutex<Option<ProgressBar>>,
}

impl Screen {
    /// A screen without a live line.
    pub(super) fn new(json: bool, quiet: bool) -> Self {
        Self(Arc::new(Inner { json, quiet, live: Mutex::new(None) }))
    }

    /// Whether a line can be updated in place, for a person who looks at it.
    pub(super) fn is_live(&self) -> bool {
        !self.0.json && !self.0.quiet && io::stderr().is_terminal()
    }

    /// Whether results go to a terminal too, so that they can be updated in place.
    pub(super) fn is_interactive(&self) -> bool {
        self.is_live() && io::stdout().is_terminal()
    }

    /// Prints a result: the value with `--json`, else the text.
    pub(super) fn result(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let line = if self.0.json {
            serde_json::to_string(value).map_err(|error| Failure::output(&error.into()))?
        } else {
            text()
        };
        self.aside(|| writeln!(io::stdout().lock(), "{line}")).map_err(|error| Failure::output(&error))
    }

    /// Whether remarks are shown: not with `--quiet`, and not to a program.
    pub(super) fn shows_notes(&self) -> bool {
        !self.0.quiet && !self.0.json
    }

    /// A remark for people.
    pub(super) fn note(&self, text: impl AsRef<str>) {
        if self.shows_notes() {
            self.line(text.as_ref());
        }
    }

    /// Why the command ends early, and what to do next.
    pub(super) fn failure(&self, failure: &Failure) {
        self.finish();
        if failure.what.is_empty() {
            return;
        }
        if self.0.json {
            let report = serde_json::json!({ "error": failure.what, "help": failure.help, "exit": failure.exit as u8 });
            self.line(&report.to_string());
            return;
        }
        self.line(&format!("error: {}", failure.what));
        if let Some(help) = &failure.help {
            self.line(&format!("help: {help}"));
        }
    }

    /// Puts a bar or a line below everything else, in place of the one that is there.
    pub(super) fn live(&self, bar: ProgressBar) {
        *self.0.live.lock() = Some(bar);
    }

    /// Takes the live line away.
    pub(super) fn finish(&self) {
        if let Some(bar) = self.0.live.lock().take() {
            bar.finish_and_clear();
        }
    }

    /// One line on standard error. Nothing can be done where it cannot be written.
    pub(super) fn line(&self, text: &str) {
        let _ = self.aside(|| writeln!(io::stderr().lock(), "{text}"));
    }

    fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        let live = self.0.live.lock().clone();
        match live {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

/// Log lines go to standard error, above the live line.
impl<'a> MakeWriter<'a> for Screen {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LogLine(self)
    }
}

/// One log line, which comes in one piece.
#[derive(Debug)]
pub(super) struct LogLine<'a>(&'a Screen);

impl Write for LogLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.aside(|| io::stderr().lock().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
