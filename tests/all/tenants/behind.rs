//! A tenant that uses much, beside others.

use std::collections::HashSet;
use std::time::Duration;

use sandbar_core::manifest::Manifest;
use sandbar_runtime::protocol::Protocol;
use sandbar_tests::{Group, Options, components, open_manifest, poll_until};

use super::monitor::Monitor;
use super::{config, start};

const TENANTS: &str = "[[tenant]]\nname = \"a\"\nprefix = \"a:\"\n[[tenant]]\nname = \"b\"\nprefix = \"b:\"\n";
/// One event after the other.
const TRIGGER: &str = "batch = 1\nconcurrency = 1\nprefetch = 0\nmax-attempts = 1";
const LIMITS: &str = "[limits]\ndeadline = \"300ms\"";

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_demoted_tenant_reads_over_a_connection_that_no_other_uses() {
    let (server, cache) = (Options::new().port().start(), tempfile::tempdir().unwrap());
    let (host, _store) = start(config(&server, cache.path(), TENANTS), Protocol::default()).await;
    let monitor = Monitor::start(&server);
    let (manifest, bytes) = (open_manifest(TRIGGER, LIMITS), std::fs::read(components::HOSTILE).unwrap());
    host.tenant("a").unwrap().load_bytes(Manifest::parse(&manifest).unwrap(), bytes).await.unwrap();
    // It loops, so that it has used much, before each time that it reads.
    let deeds = ["loop", "calls", "loop", "calls", "loop", "calls"];
    server.append("a:events", deeds.map(|deed| vec![("do", deed.to_owned())]));
    let group = Group::new(&server, "a:events", "guest");
    poll_until(Duration::from_secs(60), "all is done", async || group.is_settled()).await;
    host.shutdown().await;
    let sent = monitor.senders();
    let is_read = |command: &[String]| command[0].eq_ignore_ascii_case("get") && command[1].starts_with("a:k:");
    let first = sent.iter().position(|(_, command)| is_read(command)).expect("it has read");
    let readers: HashSet<&str> =
        sent.iter().filter(|(_, command)| is_read(command)).map(|(client, _)| client.as_str()).collect();
    assert_eq!(readers.len(), 1, "all over one connection: {readers:?}");
    let deliveries: Vec<&str> = sent[first..]
        .iter()
        .filter(|(_, command)| command[0].eq_ignore_ascii_case("xreadgroup"))
        .map(|(client, _)| client.as_str())
        .collect();
    assert!(deliveries.len() >= 2, "{deliveries:?}");
    assert!(deliveries.iter().all(|client| !readers.contains(client)), "{deliveries:?} and {readers:?}");
}
