//! The composed host: its plugins and their life cycle, the HTTP listener, the API and the admin operations.
//!
//! The command line is one program on top of this crate. Another program can embed a host, here with a store in its
//! own process:
//!
//! ```no_run
//! use std::path::Path;
//!
//! use sandbar_core::config::Config;
//! use sandbar_server::host::Host;
//! use sandbar_store::{Commit, Effect, Field, Retention};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::parse("[store]\nurl = \"embedded\"")?;
//! let store = sandbar_store::connect(&config.store).await?;
//! let host = Host::start(config, store.clone()).await?;
//! // A folder with a `plugin.toml`, and the component that `sandbar build` made from it.
//! host.load(Path::new("visits"), Path::new("visits/visits.wasm")).await?;
//!
//! let view = Effect::Append {
//!     stream: "page-views".to_owned(),
//!     fields: vec![Field::new("page", "home"), Field::new("visitor", "ada")],
//!     retention: Retention::About(10_000),
//! };
//! store.commit(Commit::plain(&[view], &[])).await?;
//!
//! tokio::signal::ctrl_c().await?;
//! println!("visits: {:?}, {:?}", store.get("visits:home").await?, host.shutdown().await);
//! # Ok(())
//! # }
//! ```
//!
//! [`http`] serves the host's HTTP endpoints, and [`api`] the API below `/api/v1`. [`admin`] holds the operations that
//! the API and the command line share.

pub mod admin;
pub mod api;
pub mod host;
pub mod http;
pub mod machine;
