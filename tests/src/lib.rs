//! What the tests of the whole share: hosts, components, programs, and the harness.
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
pub mod host;
pub mod process;
pub mod program;

pub use group::{Counted, Group};
pub use host::{TestHost, manifest, open_manifest};
pub use sandbar_test_harness::{
    Faults, Options, Proxy, RedisServer, fuzz, guard, poll, poll_until, poll_until_blocking, proxy, redis,
};
