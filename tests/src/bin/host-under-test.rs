//! A host as a process of its own, which tests kill, stop and cut off.
//!
//! `host-under-test URL MANIFEST COMPONENT [unfenced | no-fence-after-lost-reply]`. It says `ready` once its plugin runs, and
//! drains on SIGTERM. The last argument takes a part of the protocol away, to see that the tests notice.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::exit,
    reason = "a program of the tests"
)]

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use sandbar::config::{Config, StoreConfig};
use sandbar::host::{Drained, Host};
use sandbar::manifest::Manifest;
use sandbar::store::connect;
use sandbar::trigger::stream::Protocol;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, manifest, component, protocol @ ..] = arguments.as_slice() else { panic!("four arguments") };
    let protocol = match protocol {
        [] => Protocol::default(),
        [word] if word == "unfenced" => Protocol { fenced: false, ..Protocol::default() },
        [word] if word == "no-fence-after-lost-reply" => {
            Protocol { fence_after_lost_reply: false, ..Protocol::default() }
        }
        _ => panic!("unknown protocol"),
    };
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let store = StoreConfig { url: url.clone(), response_timeout: Duration::from_secs(1), ..StoreConfig::default() };
    let store = loop {
        // The server may be down at this moment, or the connection spoiled.
        match connect(&store).await {
            Ok(store) => break store,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let mut config = Config::default();
    config.engine.instances = 32;
    config.engine.cache_dir = Path::new(component).parent().map(|folder| folder.join("compiled"));
    let host = Host::start_with(config, store, protocol).await.unwrap();
    let manifest = Manifest::parse(&std::fs::read_to_string(manifest).unwrap()).unwrap();
    host.load_bytes(manifest, std::fs::read(component).unwrap()).await.unwrap();
    println!("ready");
    terminate.recv().await;
    match host.shutdown().await {
        Drained::Clean => ExitCode::SUCCESS,
        Drained::GraceElapsed { .. } => ExitCode::FAILURE,
    }
}
