//! `sandbar locks`: who holds which lock, and taking one away.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Global;
use super::exit::{Exit, Failure};
use super::screen::Screen;
use super::setup::Setup;
use crate::grants::check_name;
use crate::pattern::escape_glob;
use crate::store::{Holder, LockKey, Locked, Remaining, Store, StoreError};

/// About how many keys one step of a search looks at.
const SCAN_STEP: u32 = 1000;

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
        /// Also keys that match this pattern (`*`, `?`, `[ab]`), whoever set them, such as `lock:*`
        #[arg(long = "match", value_name = "PATTERN")]
        pattern: Option<String>,
    },
    /// Take a lock from whoever holds it; the first who waits for it gets it
    Break {
        /// The lock's key, without the tenant's prefix
        key: String,
    },
}

/// A lock that is held, as it is told.
#[derive(Debug, Serialize)]
struct Told {
    key: String,
    /// The host, the plugin and the number of the holder; none where another kind of client holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_ms: Option<u64>,
    /// What another kind of client has set.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// None where it does not expire.
    remaining_ms: Option<u64>,
    waiters: u64,
}

impl Told {
    fn new(key: String, locked: &Locked, now_ms: u64) -> Self {
        let holder = Holder::parse(&locked.value);
        let remaining_ms = match locked.remaining {
            Remaining::Ms(ms) => Some(ms),
            Remaining::Never | Remaining::Missing => None,
        };
        let value = holder.is_none().then(|| locked.value.escape_ascii().to_string());
        let age_ms = holder.as_ref().map(|holder| now_ms.saturating_sub(holder.acquired_ms));
        let (host, plugin, token) =
            holder.map_or((None, None, None), |holder| (Some(holder.host), Some(holder.plugin), Some(holder.token)));
        Self { key, host, plugin, token, age_ms, value, remaining_ms, waiters: locked.waiters }
    }

    fn line(&self) -> String {
        let time = |ms: u64| humantime::format_duration(Duration::from_millis(ms)).to_string();
        let holder = match (&self.plugin, &self.host, self.age_ms) {
            (Some(plugin), Some(host), Some(age)) => format!("{plugin} on {host} for {}", time(age)),
            _ => format!("another client, `{}`", self.value.as_deref().unwrap_or_default()),
        };
        let left = self.remaining_ms.map_or("it does not expire".to_owned(), |ms| format!("{} left", time(ms)));
        let waiters = match self.waiters {
            0 => String::new(),
            1 => ", 1 waits".to_owned(),
            waiters => format!(", {waiters} wait"),
        };
        format!("{}  {holder}, {left}{waiters}", self.key)
    }
}

/// What `break` did.
#[derive(Debug, Serialize)]
struct Broken {
    broken: Told,
}

/// Does what the arguments say.
pub(super) async fn run(arguments: Arguments, global: &Global, screen: &Screen) -> Result<Exit, Failure> {
    let setup = Setup::find(global)?;
    let store = setup.connect_shared("locks").await?;
    let prefix = setup.prefix();
    match arguments.action {
        Action::List { pattern } => list(&store, prefix, pattern.as_deref(), screen).await,
        Action::Break { key } => break_open(&store, prefix, &key, screen).await,
    }
}

async fn list(store: &Arc<dyn Store>, prefix: &str, pattern: Option<&str>, screen: &Screen) -> Result<Exit, Failure> {
    let failed = |error: StoreError| Failure::store("look for locks", &error);
    let mut keys: Vec<String> =
        store.locks(prefix).await.map_err(failed)?.into_iter().filter_map(|lock| own(prefix, &lock.key)).collect();
    if let Some(pattern) = pattern {
        let (full, mut cursor) = (format!("{}{pattern}", escape_glob(prefix)), Some(0));
        while let Some(from) = cursor {
            let page = store.scan(&full, from, SCAN_STEP).await.map_err(failed)?;
            keys.extend(page.keys.iter().filter_map(|key| own(prefix, key)));
            cursor = page.next;
        }
    }
    keys.sort_unstable();
    keys.dedup();
    let mut is_none = true;
    for key in keys {
        match store.look(&LockKey::new(prefix, &key)).await {
            Ok(Some(locked)) => {
                is_none = false;
                let told = Told::new(key, &locked, store.now_ms());
                screen.result(&told, || told.line())?;
            }
            // Given back meanwhile, or no lock at all.
            Ok(None) | Err(StoreError::WrongType(_)) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    if is_none {
        screen.note("no locks are held");
    }
    Ok(Exit::Done)
}

async fn break_open(store: &Arc<dyn Store>, prefix: &str, key: &str, screen: &Screen) -> Result<Exit, Failure> {
    check_name("lock's key", key).map_err(|error| Failure::new(Exit::Usage, error))?;
    let failed = |error: StoreError| Failure::store(&format!("break the lock `{prefix}{key}`"), &error);
    let lock = LockKey::new(prefix, key);
    let before = store.look(&lock).await.map_err(failed)?;
    let broken = store.break_open(&lock).await.map_err(failed)?;
    let Some(value) = broken else {
        let what = format!("nobody holds the lock `{prefix}{key}`; nothing was done");
        return Err(Failure::new(Exit::Failed, what).help("sandbar locks list"));
    };
    let before = before.filter(|before| before.value == value);
    let (remaining, waiters) = before.map_or((Remaining::Missing, 0), |before| (before.remaining, before.waiters));
    let told = Told::new(key.to_owned(), &Locked { value, remaining, waiters }, store.now_ms());
    let broken = Broken { broken: told };
    screen.result(&broken, || format!("broken: {}", broken.broken.line()))?;
    Ok(Exit::Done)
}

/// A key as the tenant's plugins call it.
fn own(prefix: &str, key: &str) -> Option<String> {
    key.strip_prefix(prefix).map(str::to_owned)
}
