//! `sandbar run`, and what it answers over HTTP.

use std::time::Duration;

use redis::Value;
use sandbar_tests::program::{Folder, Running, get};
use sandbar_tests::{Options, RedisServer, components, poll_until_blocking};

use super::{folder, objects};

const LIMIT: Duration = Duration::from_secs(60);

/// A folder with one plugin, on any free port.
fn with_plugin(component: &str, url: &str) -> Folder {
    let folder = folder();
    folder.write(
        "sandbar.toml",
        format!("plugins = [\"plugin\"]\n[http]\nlisten = \"127.0.0.1:0\"\n[store]\nurl = \"{url}\"\n"),
    );
    folder.write(
        "plugin/plugin.toml",
        "name = \"counter\"\ncomponent = \"counter.wasm\"\n[[trigger]]\ntype = \"stream\"\nstream = \"s\"\nstart = \"0\"\n\
         [grants]\nread = [\"*\"]\nwrite = [\"*\"]\npublish = [\"*\"]\n",
    );
    folder.write("plugin/counter.wasm", std::fs::read(component).unwrap());
    folder
}

/// Where it answers, as its log says.
fn address(running: &mut Running) -> String {
    running.until("the host says where it answers", |_, err| {
        let started = objects(err).into_iter().find(|line| line["message"] == "started")?;
        Some(started["address"].as_str()?.to_owned())
    })
}

fn answers(address: &str, path: &str, status: u16) {
    let what = format!("{path} answers {status}");
    poll_until_blocking(LIMIT, &what, || get(address, path).is_some_and(|(answered, _)| answered == status));
}

#[test]
fn a_host_handles_events_tells_its_numbers_and_drains() {
    let server = RedisServer::start();
    let folder = with_plugin(components::HANDLE_COUNT, &server.url());
    let mut running = folder.start(&["run", "--log-format", "json"]);
    let address = address(&mut running);
    answers(&address, "/readyz", 200);
    answers(&address, "/healthz", 200);
    let events: String = (0..500).map(|n| format!("{{\"camera\": \"{}\", \"seq\": {n}}}\n", n % 5)).collect();
    assert_eq!(folder.run_with(&["feed", "s", "-"], &events).code, 0);
    let done = "sandbar_events_total{tenant=\"default\",plugin=\"counter\",outcome=\"done\"} 500";
    poll_until_blocking(LIMIT, "500 events are done", || {
        get(&address, "/metrics").is_some_and(|(_, text)| text.lines().any(|line| line == done))
    });
    let (_, metrics) = get(&address, "/metrics").unwrap();
    for name in ["sandbar_commit_seconds_count", "sandbar_handler_seconds_bucket", "sandbar_event_latency_seconds_sum"]
    {
        assert!(metrics.contains(name), "{name} is missing from\n{metrics}");
    }
    assert!(metrics.contains("sandbar_store_up 1"), "{metrics}");
    let finished = running.terminate();
    assert_eq!(finished.code, 0, "{}", finished.err);
    assert_eq!(server.ask(&["XLEN", "s:dead"]), Value::Int(0));
    assert_eq!(get(&address, "/healthz"), None);
}

#[test]
fn health_follows_the_store() {
    let server = Options::new().port().start();
    let folder = with_plugin(components::HANDLE_COUNT, &server.url());
    let mut running = folder.start(&["run", "--log-format", "json"]);
    let address = address(&mut running);
    answers(&address, "/readyz", 200);
    server.kill();
    answers(&address, "/healthz", 503);
    answers(&address, "/readyz", 503);
    let (_, body) = get(&address, "/healthz").unwrap();
    let report: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(report["store_up"], false);
    assert!(!report["degraded"].as_array().unwrap().is_empty(), "{body}");
    server.restart();
    answers(&address, "/readyz", 200);
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn a_component_that_is_refused_is_named() {
    let server = RedisServer::start();
    let folder = with_plugin(components::HANDLE_COUNT, &server.url());
    folder.write("plugin/counter.wasm", "(component)");
    let finished = folder.run(&["run"]);
    assert_eq!(finished.code, 1);
    assert!(finished.err.contains("the plugin `counter` cannot be loaded"), "{}", finished.err);
    assert!(finished.err.contains("help: sandbar check plugin"), "{}", finished.err);
}

#[test]
fn a_port_that_is_taken_is_an_error() {
    let server = RedisServer::start();
    let folder = with_plugin(components::HANDLE_COUNT, &server.url());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config =
        format!("plugins = [\"plugin\"]\n[http]\nlisten = \"{address}\"\n[store]\nurl = \"{}\"\n", server.url());
    folder.write("sandbar.toml", config);
    let finished = folder.run(&["run"]);
    assert_eq!(finished.code, 1);
    insta::assert_snapshot!(finished.err.replace(&address, "ADDRESS"), @r#"
    error: cannot listen on ADDRESS: Address already in use (os error 98)
    help: end the other host that listens there, or choose another address with `listen` in [http]
    "#);
}
