//! Runs business logic as sandboxed WebAssembly components beside Redis.
//!
//! The program `sandbar` is [`cli::main`] and nothing else. A program of one's own can run a host as well, here on a store in its own
//! process:
//!
//! ```no_run
//! use std::path::Path;
//!
//! use sandbar::config::Config;
//! use sandbar::host::Host;
//! use sandbar::store::{self, Commit, Effect, Field, Retention};
//!
//! # #[tokio::main]
//! # async fn main() -> anyhow::Result<()> {
//! let config = Config::parse("[store]\nurl = \"embedded\"")?;
//! let store = store::connect(&config.store).await?;
//! let host = Host::start(config, store.clone()).await?;
//! // A folder with a plugin.toml, and the component that `sandbar build` made of it.
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
//! # Layout
//!
//! In the order in which they are best read; a module knows those above it, and few of them.
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`config`], [`manifest`] | `sandbar.toml` and `plugin.toml`: text in, checked values with documented defaults out |
//! | [`grants`], [`pattern`], [`address`] | what a plugin may touch |
//! | [`secret`] | texts that are not to be seen, and where they stand |
//! | [`token`] | who may use the API, and for what |
//! | [`lane`] | threads that go first, and threads that give way to all others |
//! | [`store`] | the contract of a store: keys, streams, queues, deliveries, [`Effect`](store::Effect)s and the [`Commit`](store::Commit); two stores keep it, [`store::redis`] and [`store::embedded`] |
//! | [`outbound`] | the requests that plugins send: addresses that were checked, TLS, bounds |
//! | [`outage`] | what stands in for the store while it is away, and the journal that is replayed afterwards |
//! | [`lock`] | a lock that this host holds, and renews |
//! | [`call`], [`overlay`] | what one call of a plugin gathers and holds, and what it would read after its own writes |
//! | [`fair`], [`quota`] | whose turn it is to run, and what tenants and plugins have used of a host |
//! | [`tape`] | what a call read, kept so that it can be run again without a store |
//! | [`bindings`], [`guest`] | the WIT package as Rust, and its implementation: one file per interface |
//! | [`engine`], [`plugin`], [`pool`] | from bytes to a checked version of a plugin, and its warm instances |
//! | [`rehearsal`] | a version run over events without effect, and what two versions did differently |
//! | [`lineup`] | which versions of a plugin take its calls |
//! | [`fleet`] | the releases that all hosts of a fleet run: deployed, followed, taken back |
//! | [`telemetry`] | the numbers that a host tells about itself |
//! | [`tiers`] | values read through memory, the store and a plugin that loads them |
//! | [`trigger`] | events from their source to the plugin to the commit; what batches have in common, then [`trigger::stream`], [`trigger::queue`] and the others |
//! | [`http`] | `/healthz`, `/readyz`, `/metrics` |
//! | [`host`] | composes all of these, and owns their lives: load, replace, drain |
//! | [`desk`] | what operators do: dead letters, queues, locks, schedules |
//! | [`api`] | the HTTP API below `/api/v1`: who may do what, and how it is told |
//! | [`builder`] | makes components with cargo; nothing of a host depends on it |
//! | [`cli`] | the commands: arguments, environment, output, exit codes |
//!
//! # Invariants
//!
//! - **A plugin can do nothing that its manifest does not ask for and its tenant does not grant.** Each function of [`guest`] checks the name
//!   before anything else, and then puts the prefix before it. Below [`guest`] there are no names without prefix, and no grants.
//! - **A write reaches a store in a [`Commit`](store::Commit) and in no other way**, but for those two that answer something, `increment` and
//!   `trim`; and for the values that [`tiers`] loads. A plugin's call holds no connection.
//! - **Of two commits for one event at most one is made.** Each presents the epoch in which the event was read; whoever takes events away
//!   advances the epoch in the same step. `store/delivery.rs` has the protocol, `trigger/stream.rs` the one way back after every fault.
//!   For jobs the lease stands in place of the epoch: `store/queue.rs`, `trigger/queue.rs`.
//! - **Nothing is sent to a store a second time by itself.** A lost reply is an error that says so.
//! - **A trap, a time-out or a lack of memory ends one instance**, whose store is thrown away; never the host. An instance serves one call
//!   at a time, and one task owns it meanwhile.
//! - **Everything is bounded by a named constant or a documented limit**: queues, replies, retries, waits, connections, log lines. There are no
//!   channels without end, and no task that nobody waits for or aborts.
//! - **`config`, `manifest`, `grants`, `pattern`, `overlay`, `store::combine`, `trigger::backoff`, `trigger::dead_letter` are pure**: no I/O, no
//!   clock, no tokio.
//! - **Only `store::redis` knows the `redis` crate**, only `engine` and `engine/cache.rs` make code out of bytes, only `bindings` is generated, only
//!   `engine/cache.rs` has `unsafe` (one line), only `cli` reads arguments, only `cli` and `secret::machine` the environment, only `cli` prints or ends the process.
//! - **No host speaks to another.** There is no leader. Hosts meet in consumer groups, fences and the records of [`fleet`], which are only ever
//!   compared and set, and their clocks need not agree. Who is alive decides for whom a deploy waits, and nothing else.
//! - **Absent on purpose**: files, sockets and the environment for plugins; a lock around a plugin's instance; a global but the recorder of
//!   metrics, which a process has one of.

// In the order in which they are best read, as above.

pub mod config;
pub mod manifest;

pub mod address;
pub mod grants;
pub mod pattern;
pub mod secret;
pub mod token;

pub mod lane;

pub mod store;

pub mod outage;

mod body;
pub mod outbound;

pub mod call;
pub mod lock;
pub mod overlay;

pub mod fair;
pub mod quota;

pub mod bindings;
pub mod guest;
pub mod tape;

pub mod engine;
pub mod plugin;
pub mod pool;

pub mod rehearsal;

pub mod telemetry;

pub mod lineup;

pub mod fleet;

pub mod tiers;

pub mod trigger;

pub mod http;

pub mod host;

pub mod desk;

pub mod api;

pub mod builder;

pub mod cli;

#[cfg(test)]
mod hammer;
#[cfg(test)]
mod readme;
