//! The HTTP API: who is let in, and what it does.

mod admin;
mod authorization;
mod bounds;
mod document;
mod odd;
mod plugins;
pub(crate) mod site;
