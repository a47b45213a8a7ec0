//! What every part of a host agrees on: names and ids, configuration, manifests, grants, secrets, tokens and
//! priorities.
//!
//! Everything here is pure: text goes in, checked values with documented defaults come out. There is no I/O, no clock
//! and no tokio, so nothing here can fail other than by returning an error. This crate depends on no other crate of
//! the host.

pub mod address;
pub mod config;
pub mod entry_id;
pub mod grants;
pub mod manifest;
pub mod pattern;
pub mod priority;
pub mod secret;
pub mod token;
