//! The tests that need more than one part of Sandbar, in one binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::print_stdout,
    reason = "all of it is tests, also the functions that they share"
)]

mod api;
mod channel;
mod cli;
mod connect;
mod connections;
mod dead_letters;
mod drain;
mod exactly_once;
mod examples;
mod fleet;
mod fuzz;
mod guests;
mod http_in;
mod http_out;
mod journal;
mod large;
mod limits;
mod lock;
mod outage;
mod pending;
mod poison;
mod queue;
mod replace;
mod retry;
mod schedule;
mod secrets;
mod tenants;
mod tiered_cache;
mod traffic;
mod trial;
mod wit;
