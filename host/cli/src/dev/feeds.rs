//! The feeds that run while `sandbar dev` does.
//!
//! Bounded: a feed waits while more than [`UNREAD_MAX`] of its events are not handled, and its stream keeps about
//! [`STREAM_MAX`] entries, so that nothing unread is cut off and the store does not fill.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::exit::{Exit, Failure};
use super::super::feed::{Fed, FeedError, LineSource, Repeat, Target, feed};
use super::super::screen::Screen;
use super::super::setup::Setup;
use sandbar_core::config::FeedConfig;
use sandbar_store::{Retention, Store};

/// Events that are not yet handled, above which a feed waits.
const UNREAD_MAX: u64 = 50_000;
/// Entries that a fed stream keeps, about.
const STREAM_MAX: u64 = 200_000;

/// Feeds that are running.
#[derive(Debug)]
pub(super) struct Feeds {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Feeds {
    /// Starts all feeds of a configuration.
    pub(super) async fn start(setup: &Setup, store: &Arc<dyn Store>, screen: &Screen) -> Result<Self, Failure> {
        let feeds = Self { stop: CancellationToken::new(), tasks: TaskTracker::new() };
        for config in &setup.config.dev.feed {
            let (source, child) = open(config, &setup.folder).await?;
            screen.note(announcement(config));
            let target = Target {
                store: store.clone(),
                stream: setup.key(&config.stream),
                retention: Retention::About(STREAM_MAX),
                unread_max: Some(UNREAD_MAX),
            };
            let (stop, screen, rate) = (feeds.stop.clone(), screen.clone(), config.rate);
            feeds.tasks.spawn(async move {
                let (fed, ended) = feed(source, &target, Some(rate), &stop, |_| ()).await;
                end(child).await;
                if let Some(words) = in_words(&target.stream, fed, &ended) {
                    screen.note(words);
                }
            });
        }
        feeds.tasks.close();
        Ok(feeds)
    }

    /// Stops all feeds and waits for them.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

/// What a person should know at the start of a feed.
fn announcement(config: &FeedConfig) -> String {
    let FeedConfig { stream, file, command, rate } = config;
    let from = match (file, command) {
        (Some(file), _) => format!("`{}`, again and again", file.display()),
        (None, Some(command)) => format!("`{}`, as soon as it prints some", command.join(" ")),
        (None, None) => "nothing".to_owned(),
    };
    format!("feeding `{stream}` with {rate} events/s from {from}")
}

async fn open(config: &FeedConfig, folder: &Path) -> Result<(LineSource, Option<Child>), Failure> {
    if let Some(file) = &config.file {
        let path = folder.join(file);
        let source = LineSource::file(path.clone(), Repeat::Forever).await;
        return Ok((source.map_err(|error| Failure::file("feed from", &path, &error))?, None));
    }
    let Some((program, arguments)) = config.command.as_deref().and_then(<[String]>::split_first) else {
        let what = format!("the feed of `{}` has an empty `command`", config.stream);
        return Err(Failure::new(Exit::Config, what).help("name a program, or a `file` of JSON lines"));
    };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let cannot = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Config, format_args!("cannot run `{program}`, the feed of `{}`: {error}", config.stream))
    };
    let mut child = command.spawn().map_err(|error| cannot(&error))?;
    let output = child.stdout.take().ok_or_else(|| cannot(&"it has no output"))?;
    Ok((LineSource::pipe(output), Some(child)))
}

/// Ends a program whose output is no longer read.
async fn end(child: Option<Child>) {
    let Some(mut child) = child else { return };
    if let Ok(None) = child.try_wait()
        && let Err(error) = child.kill().await
    {
        tracing::warn!(%error, "cannot end the program of a feed");
    }
}

/// What a person should know about the end of a feed; nothing where it was asked to end.
fn in_words(stream: &str, fed: Fed, ended: &FeedError) -> Option<String> {
    let so_far = format!("the feed of `{stream}` ended after {} events", fed.events);
    match ended {
        FeedError::Stopped => None,
        FeedError::Complete => Some(so_far),
        FeedError::Bad(reason) => Some(format!("{so_far}: {reason}")),
        FeedError::Refused(error) | FeedError::Unknown(_, error) => Some(format!("{so_far}: {error}")),
    }
}
