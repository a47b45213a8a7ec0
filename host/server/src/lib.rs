//! The composed host: its plugins and their life, the HTTP listener, the API, and what operators do.

pub mod admin;
pub mod api;
pub mod host;
pub mod http;
pub mod machine;
