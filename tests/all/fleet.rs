//! A fleet of hosts: what is deployed runs on all of them, or on none.

mod hosts;
mod records;
mod steady;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sandbar_core::config::Config;
use sandbar_fleet::{Deploy, Fleet};
use sandbar_runtime::rollout::Trial;
use sandbar_server::host::Host;
use sandbar_store::Store;
use sandbar_tests::RedisServer;
use sandbar_tests::process::HostProcess;

use crate::replace::{marked, version};

const TENANT: &str = "default";
const PLUGIN: &str = "guest";
const TRIGGER: &str = "batch = 10";

/// A deploy of the version of a number, which marks what it handles with it.
fn deploy(number: u64) -> Deploy {
    deploy_bytes(number, version(number))
}

fn deploy_bytes(number: u64, bytes: Vec<u8>) -> Deploy {
    Deploy {
        manifest: marked(TRIGGER, number),
        component: Bytes::from(bytes),
        by: "ada".to_owned(),
        trial: None,
        wait: Duration::from_secs(30),
    }
}

fn canary(number: u64) -> Deploy {
    Deploy { trial: Some(Trial::Canary { percent: 10 }), ..deploy(number) }
}

/// A host in this process.
async fn host(store: &Arc<dyn Store>) -> Host {
    let host = Host::start(Config::default(), store.clone()).await.unwrap();
    host.join_fleet(None).await.unwrap();
    host
}

/// A folder for compiled components.
fn cache() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    dir
}

/// A host in a process of its own, and its id.
fn process(server: &RedisServer, cache: &tempfile::TempDir, config: &str) -> (HostProcess, String) {
    let mut process = HostProcess::join(env!("CARGO_BIN_EXE_host-under-test"), &server.url(), cache.path(), config);
    let id = process.joined();
    (process, id)
}

/// The number of the release that each host says it runs, by id.
async fn runs(fleet: &Fleet) -> Vec<(String, u64)> {
    let reports = fleet.reports(TENANT, PLUGIN).await.unwrap();
    reports.into_iter().filter_map(|report| Some((report.host, report.active?.number))).collect()
}
