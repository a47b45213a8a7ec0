//! The queues of a tenant.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use super::AdminError;
use sandbar_core::grants::check_foreign;
use sandbar_core::pattern::escape_glob;
use sandbar_store::{JobQueue, Lengths, Store};

/// How many keys one step of the search for queues looks at.
const SCAN_COUNT: u32 = 1000;
/// Keys beside a queue by which it is found. Producers alone do not make a queue known: a list is a list.
const MARKS: [&str; 2] = [":seq", ":paused"];

/// What is known of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct QueueState {
    /// Its name, without the tenant's prefix.
    pub queue: String,
    /// Whether the queue is paused: no jobs are leased.
    pub paused: bool,
    /// Jobs that can be taken.
    pub ready: u64,
    /// Jobs that wait for their time.
    pub delayed: u64,
    /// Jobs that are being handled.
    pub leased: u64,
    /// Dead letters.
    pub dead: u64,
}

/// What became of a queue that was paused or let go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Switched {
    /// Its name.
    pub queue: String,
    /// What it is now.
    pub paused: bool,
    /// Whether it was the other before.
    pub changed: bool,
}

/// The queues of a tenant.
#[derive(Debug, Clone)]
pub struct Queues {
    store: Arc<dyn Store>,
    prefix: String,
}

impl Queues {
    /// Those below a tenant's prefix.
    pub fn of(store: Arc<dyn Store>, prefix: &str) -> Self {
        Self { store, prefix: prefix.to_owned() }
    }

    /// The queues that something was ever taken from, and those that are paused.
    pub async fn names(&self) -> Result<BTreeSet<String>, AdminError> {
        let (begin, mut names, mut cursor) = (format!("{}{}", self.prefix, JobQueue::INFIX), BTreeSet::new(), Some(0));
        while let Some(from) = cursor {
            let page = self.store.scan(&format!("{}*", escape_glob(&begin)), from, SCAN_COUNT).await;
            let page = page.map_err(|error| AdminError::store("look for queues", error))?;
            let name = |key: &String| {
                let rest = key.strip_prefix(&begin)?;
                MARKS.iter().find_map(|mark| rest.strip_suffix(mark)).map(str::to_owned)
            };
            names.extend(page.keys.iter().filter_map(name));
            cursor = page.next;
        }
        Ok(names)
    }

    /// How many jobs a queue has, by state.
    pub async fn state(&self, name: &str) -> Result<QueueState, AdminError> {
        let queue = self.queue(name)?;
        let failed = |error| AdminError::store(format!("look at the queue `{}`", queue.list), error);
        let Lengths { ready, delayed, leased, dead } = self.store.lengths(&queue).await.map_err(failed)?;
        let paused = self.store.is_paused(&queue).await.map_err(failed)?;
        Ok(QueueState { queue: name.to_owned(), paused, ready, delayed, leased, dead })
    }

    /// Pauses a queue, so that no jobs are leased from it, or resumes it.
    pub async fn switch(&self, name: &str, paused: bool) -> Result<Switched, AdminError> {
        let changed = self.store.set_paused(&self.queue(name)?, paused).await;
        let changed = changed.map_err(|error| AdminError::store("write to the queue", error))?;
        Ok(Switched { queue: name.to_owned(), paused, changed })
    }

    fn queue(&self, name: &str) -> Result<JobQueue, AdminError> {
        check_foreign("queue's name", name)?;
        Ok(JobQueue::new(&self.prefix, name))
    }
}
