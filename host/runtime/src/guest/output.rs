//! `wasi:logging`, and what a plugin writes to its standard output: lines of the host's log, each with the plugin,
//! its version, the trigger that made it run, and the event that it handles.
//!
//! A call may write so many lines; excess is dropped and counted. A line is cut to [`LINE_BYTES_MAX`].

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

use crate::bindings::wasi::logging::logging::Level;
use crate::context::PluginContext;

/// The longest line; the rest is cut off.
const LINE_BYTES_MAX: usize = 4096;
/// How many of the last lines are kept as last words.
const LAST_WORDS_LINES: usize = 4;

/// The tenant's limit on lines.
const RATE: &str = "quota.log-lines-per-second";

/// No event.
const NONE: u32 = u32::MAX;

/// Where the lines of one instance go.
#[derive(Clone)]
pub(super) struct Output(Arc<Shared>);

struct Shared {
    /// The index of the event that is being handled, or [`NONE`]. Beside the lock, because it changes with each event.
    current: AtomicU32,
    lines: Mutex<Lines>,
}

/// What made a plugin run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Occasion<'a> {
    /// The kind of the trigger, or `loader`.
    pub(crate) kind: &'static str,
    /// Which one: the stream, the queue, the channel, the name of the schedule, the route.
    pub(crate) subject: &'a str,
}

struct Lines {
    context: Arc<PluginContext>,
    /// What made the plugin run, such as `stream:events`.
    trigger: String,
    events: Arc<[String]>,
    partial: Vec<u8>,
    last: Vec<String>,
    left: u32,
    bytes_left: u64,
    skipped: u64,
    /// Nothing is logged of a call that replays a recording.
    is_silent: bool,
    /// The limit that left lines out.
    limit: &'static str,
}

impl Output {
    pub(super) fn new(context: Arc<PluginContext>) -> Self {
        let lines = Lines {
            left: 0,
            bytes_left: 0,
            limit: "limits.log-lines",
            context,
            trigger: "start".to_owned(),
            events: Arc::default(),
            partial: Vec::new(),
            last: Vec::new(),
            skipped: 0,
            is_silent: false,
        };
        Self(Arc::new(Shared { current: AtomicU32::new(NONE), lines: Mutex::new(lines) }))
    }

    /// Begins a call for events with these ids, which may write so many lines of so many bytes together.
    pub(super) fn begin(&self, lines: u32, bytes: u64, events: Arc<[String]>, is_silent: bool) {
        // A single event is the one that is handled, also where the plugin does not say so.
        self.0.current.store(if events.len() == 1 { 0 } else { NONE }, Ordering::Relaxed);
        let mut state = self.0.lines.lock();
        state.left = lines;
        state.bytes_left = bytes;
        state.skipped = 0;
        state.is_silent = is_silent;
        state.events = events;
        state.partial.clear();
        state.last.clear();
    }

    /// What made the plugin run.
    pub(super) fn occasion(&self, occasion: Occasion<'_>) {
        let mut state = self.0.lines.lock();
        state.trigger.clear();
        state.trigger.extend([occasion.kind, if occasion.subject.is_empty() { "" } else { ":" }, occasion.subject]);
    }

    /// The event with this index is handled from here on.
    pub(super) fn event(&self, index: u32) {
        self.0.current.store(index, Ordering::Relaxed);
    }

    /// Ends a call: what was printed without an end of its line is a line too, and the number of dropped lines is
    /// logged.
    pub(super) fn end(&self) {
        let partial = !self.0.lines.lock().partial.is_empty();
        if partial {
            self.print(b"\n");
        }
        let state = self.0.lines.lock();
        if state.skipped > 0 {
            state.context.quota.hit(state.limit);
            // A flood of lines must not become a flood of these.
            if state.limit != RATE || state.context.quota.log_line() {
                tracing::warn!(
                    tenant = state.context.tenant,
                    plugin = state.context.plugin,
                    trigger = state.trigger,
                    lines = state.skipped,
                    "log lines were dropped: a call wrote more than `{}`",
                    state.limit
                );
            }
        }
    }

    /// The last lines of the call's standard output.
    pub(super) fn last_words(&self) -> Option<String> {
        let state = self.0.lines.lock();
        (!state.last.is_empty()).then(|| state.last.join(" "))
    }

    pub(super) fn log(&self, level: Level, context: &str, message: &str) {
        let mut state = self.0.lines.lock();
        if state.is_silent {
            return;
        }
        let (message, context) = (cut(message), cut(context));
        let bytes = u64::try_from(message.len().saturating_add(context.len())).unwrap_or(u64::MAX);
        let limit = match state.bytes_left.checked_sub(bytes) {
            _ if state.left == 0 => Some("limits.log-lines"),
            None => Some("limits.log-bytes"),
            Some(_) if !state.context.quota.log_line() => Some(RATE),
            Some(left) => {
                state.bytes_left = left;
                state.left -= 1;
                None
            }
        };
        if let Some(limit) = limit {
            state.skipped = state.skipped.saturating_add(1);
            state.limit = limit;
            return;
        }
        let PluginContext { plugin, version, tenant, .. } = &*state.context;
        let version = version.get(..12).unwrap_or(version);
        let current = usize::try_from(self.0.current.load(Ordering::Relaxed)).ok();
        let event = current.and_then(|index| state.events.get(index)).map(String::as_str);
        let trigger = state.trigger.as_str();
        macro_rules! emit {
            ($level:ident) => {
                tracing::$level!(target: "plugin", plugin, version, tenant, trigger, event, context, "{message}")
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
                let mut state = self.0.lines.lock();
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
