//! The HTTP API: who is let in, and what it does.

mod bounds;
mod desk;
mod doors;
mod odd;
mod plugins;
pub(crate) mod site;
