//! What plugins answer over HTTP: after their writes are committed, within bounds, and never half.

mod answers;
mod bounds;
mod clients;
mod faults;
mod life;
pub(crate) mod site;
mod streams;

use site::{Site, request};
