//! The tests that need more than one part of Sandbar, in one binary.

mod conformance;
mod exactly_once;
mod guests;
mod wit;
