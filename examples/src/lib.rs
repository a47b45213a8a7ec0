//! Input for the example systems, and what they are expected to make of it.
//!
//! One module a system. Everything is deterministic: the same options give the same lines, so that a test can compute
//! what must come out without asking a plugin.

pub mod traffic;
