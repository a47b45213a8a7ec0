//! Tenants that do not trust each other on one host and one server.

mod acl;
mod behind;
mod commits;
mod grants;
mod hostile;
mod many;
mod monitor;

use std::path::Path;
use std::sync::Arc;

use sandbar_core::config::{Config, EngineConfig, StoreConfig};
use sandbar_runtime::protocol::Protocol;
use sandbar_server::host::Host;
use sandbar_store::{Store, connect};
use sandbar_tests::RedisServer;

/// A configuration whose code is compiled once.
fn config(server: &RedisServer, cache: &Path, text: &str) -> Config {
    let engine = EngineConfig { cache_dir: Some(cache.to_owned()), ..EngineConfig::default() };
    let store = StoreConfig { url: server.url(), ..StoreConfig::default() };
    Config { engine, store, ..Config::parse(text).unwrap() }
}

/// A host on a server.
async fn start(config: Config, protocol: Protocol) -> (Host, Arc<dyn Store>) {
    let store = connect(&config.store).await.unwrap();
    (Host::start_with(config, store.clone(), protocol).await.unwrap(), store)
}
