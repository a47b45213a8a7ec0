//! What makes a plugin run.
//!
//! A trigger takes events from their source, has the plugin handle them, and commits what comes of it. It knows stores
//! and pools of instances; it does not know how either works.

pub mod backoff;
pub mod channel;
pub mod dead_letter;
pub mod http;
pub mod stream;
