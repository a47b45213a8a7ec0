//! The HTTP API: who is let in, and what it does.

mod admin;
mod bounds;
mod document;
mod doors;
mod odd;
mod plugins;
pub(crate) mod site;
