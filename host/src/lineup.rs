//! Which versions of a plugin take its calls.
//!
//! Every trigger asks the lineup once for each call, so a version that is put in place takes new calls from one instant on, and calls
//! that run end on the version that they began with.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use serde::{Deserialize, Serialize};

use crate::pool::Pool;

/// How a second version is tried beside the active one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Trial {
    /// It gets the same batches, and what it would write is compared with what the active version writes, and dropped.
    Shadow,
    /// It takes this share of the calls, with effect.
    Canary {
        /// Of a hundred calls, 1 to 99.
        percent: u8,
    },
}

/// A version is not good enough: what its probation found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condemned {
    /// The version: the SHA-256 of its component.
    pub version: String,
    /// What it failed in, with the limit and the measured value.
    pub reason: String,
    /// Ids of events that it failed over, as `source id`; a few.
    pub events: Vec<String>,
}

/// The versions of one plugin on this host.
#[derive(Debug)]
pub struct Lineup {
    active: ArcSwap<Pool>,
    candidate: ArcSwapOption<(Pool, Trial)>,
}

impl Lineup {
    /// A lineup of one version.
    pub fn new(active: Pool) -> Self {
        Self { active: ArcSwap::from_pointee(active), candidate: ArcSwapOption::empty() }
    }

    /// The active version.
    pub fn active(&self) -> Arc<Pool> {
        self.active.load_full()
    }

    /// The version that takes the next call.
    pub fn choose(&self) -> Arc<Pool> {
        self.active.load_full()
    }

    /// Puts another version in place from this instant on, and answers the one before.
    pub fn replace(&self, active: Pool) -> Arc<Pool> {
        self.active.swap(Arc::new(active))
    }

    /// Tries another version beside the active one, in place of one that is tried already.
    pub fn begin_trial(&self, candidate: Pool, trial: Trial) {
        self.candidate.store(Some(Arc::new((candidate, trial))));
    }

    /// Ends a trial; calls that run in the candidate end there.
    pub fn end_trial(&self) {
        self.candidate.store(None);
    }

    /// Waits until a version on probation (the active one, or a candidate) is found not good enough. Cancel-safe.
    pub async fn condemned(&self) -> Condemned {
        std::future::pending().await
    }
}
