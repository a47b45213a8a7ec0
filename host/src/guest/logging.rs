//! `wasi:logging`, and what a plugin writes to its standard output: lines of the host's log.
//!
//! A call may write so many lines; what comes after them is left out and counted. A line is cut to [`LINE_BYTES_MAX`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

use super::state::{Identity, State};
use crate::bindings::wasi::logging::logging::{Host, Level};

/// The longest line; the rest is cut off.
const LINE_BYTES_MAX: usize = 4096;
/// How many of the last lines are kept as last words.
const LAST_WORDS_LINES: usize = 4;

/// Where the lines of one instance go.
#[derive(Clone)]
pub(super) struct Output(Arc<Mutex<Lines>>);

struct Lines {
    identity: Arc<Identity>,
    partial: Vec<u8>,
    last: Vec<String>,
    left: u32,
    left_out: u64,
}

impl Output {
    pub(super) fn new(identity: Arc<Identity>) -> Self {
        let lines = Lines { left: 0, identity, partial: Vec::new(), last: Vec::new(), left_out: 0 };
        Self(Arc::new(Mutex::new(lines)))
    }

    /// Begins a call, which may write so many lines.
    pub(super) fn begin(&self, lines: u32) {
        let mut state = self.0.lock();
        if state.left_out > 0 {
            tracing::warn!(
                plugin = state.identity.plugin,
                lines = state.left_out,
                "log lines were left out: a call wrote more than `limits.log-lines`"
            );
        }
        state.left = lines;
        state.left_out = 0;
        state.partial.clear();
        state.last.clear();
    }

    /// The last lines of the call's standard output.
    pub(super) fn last_words(&self) -> Option<String> {
        let state = self.0.lock();
        (!state.last.is_empty()).then(|| state.last.join(" "))
    }

    fn log(&self, level: Level, context: &str, message: &str) {
        let mut state = self.0.lock();
        if state.left == 0 {
            state.left_out = state.left_out.saturating_add(1);
            return;
        }
        state.left -= 1;
        let (message, context) = (cut(message), cut(context));
        let Identity { plugin, version, tenant, .. } = &*state.identity;
        let version = version.get(..12).unwrap_or(version);
        macro_rules! emit {
            ($level:ident) => {
                tracing::$level!(target: "plugin", plugin, version, tenant, context, "{message}")
            };
        }
        match level {
            Level::Trace => emit!(trace),
            Level::Debug => emit!(debug),
            Level::Info => emit!(info),
            Level::Warn => emit!(warn),
            Level::Error | Level::Critical => emit!(error),
        }
    }

    fn print(&self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = {
                let mut state = self.0.lock();
                let room = LINE_BYTES_MAX.saturating_sub(state.partial.len());
                state.partial.extend_from_slice(part.get(..part.len().min(room)).unwrap_or_default());
                if part.last() != Some(&b'\n') {
                    continue;
                }
                let line = String::from_utf8_lossy(&std::mem::take(&mut state.partial)).trim_end().to_owned();
                if state.last.len() >= LAST_WORDS_LINES {
                    state.last.remove(0);
                }
                state.last.push(line.clone());
                line
            };
            self.log(Level::Info, "stdout", &line);
        }
    }
}

/// A text of at most [`LINE_BYTES_MAX`] bytes.
fn cut(text: &str) -> &str {
    let end = (0..=LINE_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

impl Host for State {
    fn log(&mut self, level: Level, context: String, message: String) {
        self.output.log(level, &context, &message);
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.print(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
