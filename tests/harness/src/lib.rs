//! What tests of every crate share: real Redis servers, a proxy that loses and delays replies, waiting without
//! sleeping, fuzzing.
//!
//! Knows nothing of Sandbar, so that every crate can use it in its tests. It panics where something is wrong, since
//! its callers are tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "everything here runs inside tests, which panic and print"
)]

pub mod fuzz;
pub mod guard;
pub mod poll;
pub mod proxy;
pub mod redis;

pub use poll::{poll_until, poll_until_blocking};
pub use proxy::{Faults, Proxy};
pub use redis::{Options, RedisServer};
