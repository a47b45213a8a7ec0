//! `sandbar locks`: lists locks with their holders, and breaks a lock.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Global;
use super::exit::{Exit, Failure};
use super::screen::Screen;
use super::setup::Opened;
use sandbar_server::admin::AdminError;
use sandbar_server::admin::locks::{LockState, Locks};

/// What `sandbar locks` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the locks that are held: by plugins, and with --match by clients of any kind
    List {
        /// Also keys that match this pattern (`*`, `?`, `[ab]`), whichever client set them, such as `lock:*`
        #[arg(long = "match", value_name = "PATTERN")]
        pattern: Option<String>,
    },
    /// Take a lock from its holder; the first waiter gets it
    Break {
        /// The lock's key, without the tenant's prefix
        key: String,
    },
}

/// What `break` did.
#[derive(Debug, Serialize)]
struct Broken {
    broken: LockState,
}

/// Does what the arguments say.
pub(super) async fn run(arguments: Arguments, global: &Global, screen: &Screen) -> Result<Exit, Failure> {
    let Opened { setup, store } = Opened::shared("locks", global).await?;
    let locks = Locks::of(store, setup.prefix());
    match arguments.action {
        Action::List { pattern } => list(&locks, pattern.as_deref(), screen).await,
        Action::Break { key } => break_open(&locks, &key, screen).await,
    }
}

async fn list(locks: &Locks, pattern: Option<&str>, screen: &Screen) -> Result<Exit, Failure> {
    let held = locks.list(pattern).await.map_err(|error| Failure::from(&error))?;
    for held in &held {
        screen.result(held, || line(held))?;
    }
    if held.is_empty() {
        screen.note("no locks are held");
    }
    Ok(Exit::Done)
}

async fn break_open(locks: &Locks, key: &str, screen: &Screen) -> Result<Exit, Failure> {
    let broken = locks.break_open(key).await.map_err(|error| match error {
        AdminError::NotHeld(_) => Failure::from(&error).help("sandbar locks list"),
        error => Failure::from(&error),
    })?;
    let broken = Broken { broken };
    screen.result(&broken, || format!("broken: {}", line(&broken.broken)))?;
    Ok(Exit::Done)
}

fn line(held: &LockState) -> String {
    let time = |ms: u64| humantime::format_duration(Duration::from_millis(ms)).to_string();
    let holder = match (&held.plugin, &held.host, held.age_ms) {
        (Some(plugin), Some(host), Some(age)) => format!("{plugin} on {host} for {}", time(age)),
        _ => format!("another client, `{}`", held.value.as_deref().unwrap_or_default()),
    };
    let left = held.remaining_ms.map_or("it does not expire".to_owned(), |ms| format!("{} left", time(ms)));
    let waiters = match held.waiters {
        0 => String::new(),
        1 => ", 1 waits".to_owned(),
        waiters => format!(", {waiters} wait"),
    };
    format!("{}  {holder}, {left}{waiters}", held.key)
}
