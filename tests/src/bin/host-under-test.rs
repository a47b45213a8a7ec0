//! A host as a process of its own, which tests kill, stop and cut off.
//!
//! `host-under-test URL MANIFEST COMPONENT [unfenced | no-fence-after-lost-reply]`. It says `ready` once its plugin
//! runs, and drains on SIGTERM. The last argument takes a part of the protocol away, to see that the tests notice.
//!
//! `host-under-test URL fleet CACHE CONFIGURATION` joins the fleet of the store and says `ready` with its id there.
//! Compiled components are kept in the folder CACHE; CONFIGURATION is the text of one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::exit,
    reason = "a program of the tests"
)]

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use sandbar_core::config::{Config, StoreConfig};
use sandbar_core::manifest::Manifest;
use sandbar_runtime::protocol::Protocol;
use sandbar_server::host::{Drained, Host};
use sandbar_store::{Store, connect};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, manifest, component, protocol @ ..] = arguments.as_slice() else { panic!("four arguments") };
    if manifest == "fleet" {
        return in_fleet(url, Path::new(component), protocol).await;
    }
    let protocol = match protocol {
        [] => Protocol::default(),
        [word] if word == "unfenced" => Protocol { fenced: false, ..Protocol::default() },
        [word] if word == "no-fence-after-lost-reply" => {
            Protocol { fence_after_lost_reply: false, ..Protocol::default() }
        }
        _ => panic!("unknown protocol"),
    };
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let store = patiently(url).await;
    let mut config = Config::default();
    config.engine.instances = 32;
    config.engine.cache_dir = Path::new(component).parent().map(|folder| folder.join("compiled"));
    let host = Host::start_with(config, store, protocol).await.unwrap();
    let manifest = Manifest::parse(&std::fs::read_to_string(manifest).unwrap()).unwrap();
    host.load_bytes(manifest, std::fs::read(component).unwrap()).await.unwrap();
    println!("ready");
    terminate.recv().await;
    ended(host.shutdown().await)
}

/// A host without plugins of its own.
async fn in_fleet(url: &str, cache: &Path, configuration: &[String]) -> ExitCode {
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let mut config = Config::parse(&configuration[0]).unwrap();
    config.engine.cache_dir = Some(cache.to_owned());
    let host = Host::start(config, patiently(url).await).await.unwrap();
    host.join_fleet(None).await.unwrap();
    println!("ready {}", host.id());
    terminate.recv().await;
    ended(host.shutdown().await)
}

/// Connects, also where the server is down at this moment, or the connection spoiled.
async fn patiently(url: &str) -> Arc<dyn Store> {
    let store = StoreConfig { url: url.to_owned(), response_timeout: Duration::from_secs(1), ..StoreConfig::default() };
    loop {
        match connect(&store).await {
            Ok(store) => return store,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

fn ended(drained: Drained) -> ExitCode {
    match drained {
        Drained::Clean => ExitCode::SUCCESS,
        Drained::GraceElapsed { .. } => ExitCode::FAILURE,
    }
}
