//! The tests that need more than one part of Sandbar, in one binary.

mod guests;
mod wit;
