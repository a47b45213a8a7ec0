//! What the tests share: real Redis servers, a proxy that loses and delays replies, hosts, components, and waiting
//! without sleeping.
//!
//! It panics where something is wrong, since its callers are tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "everything here runs inside tests, which panic and print"
)]

pub mod components;
pub mod group;
pub mod guard;
pub mod host;
pub mod poll;
pub mod process;
pub mod program;
pub mod proxy;
pub mod redis;

pub use group::{Counted, Group};
pub use host::{TestHost, manifest, open_manifest};
pub use poll::{poll_until, poll_until_blocking};
pub use proxy::{Faults, Proxy};
pub use redis::{Options, RedisServer};
