//! `sandbar dev`.

use redis::Value;
use sandbar_tests::program::{Folder, Running};
use sandbar_tests::{RedisServer, components};
use serde_json::Value as Json;

use super::{folder, objects};

/// A folder with one plugin whose component is a file, fed with a file of its own.
fn with_feed(url: &str) -> Folder {
    let folder = folder();
    folder.write(
        "sandbar.toml",
        format!(
            "plugins = [\"plugin\"]\n[http]\nlisten = \"127.0.0.1:0\"\n[store]\nurl = \"{url}\"\n\
             [[dev.feed]]\nstream = \"s\"\nfile = \"events.jsonl\"\nrate = 200\n"
        ),
    );
    folder.write("events.jsonl", "{\"camera\": \"1\", \"seq\": 1}\n");
    folder.write(
        "plugin/plugin.toml",
        "name = \"counter\"\ncomponent = \"counter.wasm\"\n[[trigger]]\ntype = \"stream\"\nstream = \"s\"\n\
         [grants]\nread = [\"*\"]\nwrite = [\"*\"]\npublish = [\"*\"]\n",
    );
    folder.write("plugin/counter.wasm", std::fs::read(components::HANDLE_COUNT).unwrap());
    folder
}

/// Waits until so many of the objects that were printed are what is looked for.
fn until(running: &mut Running, what: &str, count: usize, is_it: impl Fn(&Json) -> bool) {
    running.until(what, |out, _| (objects(out).iter().filter(|told| is_it(told)).count() >= count).then_some(()));
}

fn flows(told: &Json) -> bool {
    told["event"] == "summary" && told["events_per_s"].as_f64().is_some_and(|rate| rate > 50.0)
}

#[test]
fn a_folder_runs_without_redis_and_replaces_what_changes() {
    let folder = with_feed("embedded");
    let mut running = folder.start(&["dev", "--json"]);
    until(&mut running, "the plugin runs", 1, |told| told["event"] == "loaded");
    until(&mut running, "events flow", 2, flows);
    folder.replace("plugin/counter.wasm", "nonsense");
    until(&mut running, "the bad version is refused", 1, |told| told["event"] == "failed");
    let before = objects(&running.out()).iter().filter(|told| flows(told)).count();
    until(&mut running, "the old version goes on", before + 2, flows);
    folder.replace("plugin/counter.wasm", std::fs::read(components::HANDLE_COUNT).unwrap());
    until(&mut running, "the good version runs", 2, |told| told["event"] == "loaded");
    let before = objects(&running.out()).iter().filter(|told| flows(told)).count();
    until(&mut running, "events still flow", before + 2, flows);
    let finished = running.terminate();
    assert_eq!(finished.code, 0, "{}", finished.err);
}

#[test]
fn the_store_of_the_arguments_is_used_and_told() {
    let server = RedisServer::start();
    let folder = with_feed("embedded");
    let mut running = folder.start(&["dev", "--redis-url", &server.url()]);
    running.until("a summary", |out, _| out.contains("events/s  p50").then_some(()));
    running.until("the store is named", |_, err| err.contains("store: unix://").then_some(()));
    let fed = || matches!(server.ask(&["XLEN", "s"]), Value::Int(length) if length > 50);
    sandbar_tests::poll_until_blocking(std::time::Duration::from_secs(60), "events arrive in Redis", fed);
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn what_cannot_be_built_is_shown_and_waited_for() {
    let folder = with_feed("embedded");
    std::fs::remove_file(folder.path().join("plugin/counter.wasm")).unwrap();
    let mut running = folder.start(&["dev", "--json"]);
    until(&mut running, "the missing component is named", 1, |told| {
        told["event"] == "failed" && told["error"].as_str().is_some_and(|error| error.contains("counter.wasm"))
    });
    folder.replace("plugin/counter.wasm", std::fs::read(components::HANDLE_COUNT).unwrap());
    until(&mut running, "it runs as soon as it is there", 1, |told| told["event"] == "loaded");
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn a_folder_without_a_configuration_is_explained() {
    let folder = folder();
    let finished = folder.run(&["dev", "nowhere"]);
    assert_eq!(finished.code, 64);
    insta::assert_snapshot!(finished.err, @r#"
    error: cannot read `nowhere/sandbar.toml`: No such file or directory (os error 2)
    help: name a configuration that is there, or write one: `plugins = ["my-plugin"]` is enough
    "#);
}
