//! Writes Sandbar plugins in Rust: a handler is a function over typed events, with `?`.
//!
//! ```
//! use sandbar_sdk::prelude::*;
//!
//! #[derive(serde::Deserialize)]
//! struct Reading<'a> {
//!     camera: &'a str,
//!     value: i64,
//! }
//!
//! fn handle(event: &Event) -> Result<(), Failure> {
//!     let reading: Reading<'_> = event.json("data")?;
//!     cache::add(&format!("sum:{}", reading.camera), reading.value)?;
//!     pubsub::publish("readings", event.bytes("data")?)?;
//!     Ok(())
//! }
//!
//! sandbar_sdk::handler!(handle);
//! ```
//!
//! The plugin is a `cdylib`, built with `cargo build --release --target wasm32-wasip2`; its `plugin.toml` says which
//! stream it reads and which keys it is granted.
//!
//! # What becomes of an event
//!
//! `Ok(())` acknowledges it, in one transaction with all that was written for it. A [`Failure`] leaves its writes
//! out: it is retried, or rejected to the dead letters with a reason. A field that is missing or malformed rejects
//! and names the field; an error of the store that may pass is retried; any other error that meets a `?` rejects with
//! its text.
//!
//! # When a call takes effect
//!
//! A write that answers nothing is part of the commit; a call that answers something happens at once.
//!
//! # Layout
//!
//! [`event`] and [`failure`] are what a handler takes and answers, [`handler`](mod@handler) makes a component of it, as
//! [`schedule`](mod@schedule) does of a function that runs at given times, and
//! [`loader`](mod@loader) of what `cache::fetch` asks. [`cache`], [`stream`], [`queue`], [`pubsub`], [`lock`],
//! [`collections`] and [`transaction`] are the primitives of the host, [`log`], [`config`] and [`http`] its
//! standard interfaces, all over [`bindings`], which is generated.
//!
//! # Tests
//!
//! The crate compiles for the host's own target too, where calls of the primitives panic. Keep what decides in
//! functions without them, and test those with `cargo test`.

pub mod bindings;
pub mod cache;
pub mod collections;
pub mod config;
pub mod event;
pub mod failure;
pub mod handler;
pub mod http;
pub mod json;
pub mod loader;
pub mod lock;
pub mod log;
pub mod pubsub;
pub mod queue;
pub mod schedule;
pub mod stream;
pub mod transaction;
pub mod types;

pub use event::{Content, Event, Outcome};
pub use failure::Failure;
pub use schedule::Instant;
pub use types::{Error, Field};

/// What most plugins use: `use sandbar_sdk::prelude::*;`.
pub mod prelude {
    pub use std::time::Duration;

    pub use crate::cache::{Condition, Expiry, Remaining};
    pub use crate::collections::End;
    pub use crate::queue::Push;
    pub use crate::stream::Retention;
    pub use crate::{Content, Error, Event, Failure, Field, Instant, Outcome};
    pub use crate::{cache, collections, config, http, json, lock, log, pubsub, queue, stream, transaction};
}

/// The plugin that the README shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
