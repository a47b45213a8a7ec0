//! `sandbar deploy`, `plugins`, `rollback` and `nodes`.

use std::time::Duration;

use redis::Value;
use sandbar_tests::program::{Folder, Running};
use sandbar_tests::{RedisServer, components, poll_until_blocking};
use serde_json::Value as Json;

use super::{folder, objects};

const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with a plugin, whose component marks what it handles with a number.
pub(super) fn setup() -> (RedisServer, Folder) {
    let (server, folder) = (RedisServer::start(), folder());
    folder.write(
        "sandbar.toml",
        format!(
            "[store]\nurl = \"{}\"\n[http]\nlisten = \"127.0.0.1:0\"\n[engine]\ncache-dir = \"cache\"\n",
            server.url()
        ),
    );
    plugin(&folder, "one");
    folder.write("marker/marker.wasm", std::fs::read(components::HANDLE_MARK).unwrap());
    (server, folder)
}

/// Writes the plugin's manifest, with another mark.
pub(super) fn plugin(folder: &Folder, mark: &str) {
    let trigger = "[[trigger]]\ntype = \"stream\"\nstream = \"events\"\nstart = \"0\"\n";
    let rest = format!("[grants]\nwrite = [\"*\"]\n[config]\nmark = \"{mark}\"\n");
    folder.write("marker/plugin.toml", format!("name = \"marker\"\ncomponent = \"marker.wasm\"\n{trigger}{rest}"));
}

pub(super) fn run(folder: &Folder) -> Running {
    folder.start(&["run", "--log-format", "json"])
}

pub(super) fn marks(server: &RedisServer) -> Vec<String> {
    server.get(&["LRANGE", "marks", "0", "-1"])
}

#[test]
fn a_plugin_is_deployed_looked_at_and_rolled_back() {
    let (server, folder) = setup();
    let first = run(&folder);
    let second = run(&folder);
    poll_until_blocking(PATIENCE, "two hosts are there", || objects(&folder.run(&["nodes", "--json"]).out).len() == 2);

    let deployed = folder.run(&["deploy", "marker", "--by", "ada", "--json"]);
    assert_eq!(deployed.code, 0, "{deployed:?}");
    let told = &objects(&deployed.out)[0];
    assert_eq!((&told["plugin"], &told["number"], &told["outcome"]), (&"marker".into(), &1.into(), &"active".into()));
    assert_eq!(told["hosts"].as_array().unwrap().len(), 2);
    assert!(told["hosts"].as_array().unwrap().iter().all(|host| host["standing"]["kind"] == "good"), "{told}");
    server.append_counted("events", 1, 0..1);
    poll_until_blocking(PATIENCE, "it handles events", || marks(&server) == ["one"]);

    plugin(&folder, "two");
    let deployed = folder.run(&["deploy", "marker", "--by", "bob"]);
    assert!(deployed.out.starts_with("`marker` #2 ") && deployed.out.contains(" is active\n"), "{deployed:?}");
    assert_eq!(deployed.out.matches(" runs it\n").count(), 2, "{deployed:?}");
    server.append_counted("events", 1, 1..2);
    poll_until_blocking(PATIENCE, "the next one does", || marks(&server) == ["one", "two"]);

    let listed = folder.run(&["plugins"]);
    assert!(listed.out.starts_with("marker  #2 ") && listed.out.ends_with(" by bob\n"), "{listed:?}");
    let back = folder.run(&["rollback", "marker", "--by", "eve", "--reason", "too slow"]);
    assert!(back.out.starts_with("marker  #1 "), "{back:?}");
    server.append_counted("events", 1, 2..3);
    poll_until_blocking(PATIENCE, "the first one does again", || {
        folder.run(&["plugins", "marker"]).out.matches(" runs it\n").count() == 2
    });
    let shown = folder.run(&["plugins", "marker"]).out;
    assert!(shown.contains(": rolled back by eve: too slow\n") && shown.contains(": replaced by bob\n"), "{shown}");
    let json = &objects(&folder.run(&["plugins", "marker", "--json"]).out)[0];
    assert_eq!(json["record"]["history"][0]["why"]["kind"], "rolled-back");

    let removed = folder.run(&["plugins", "remove", "marker"]);
    assert!(removed.out.starts_with("marker  no release is active"), "{removed:?}");
    drop((first, second));
}

#[test]
fn what_cannot_be_deployed_is_explained() {
    let (server, folder) = setup();
    let none = folder.run(&["rollback", "marker"]);
    assert_eq!(none.code, 1);
    insta::assert_snapshot!(none.err, @r"
    error: cannot roll `marker` back: no plugin `marker` of the tenant `default` was ever deployed
    help: sandbar plugins lists those that were
    ");
    let _host = run(&folder);
    poll_until_blocking(PATIENCE, "the host is there", || objects(&folder.run(&["nodes", "--json"]).out).len() == 1);
    folder.write("garbage.wasm", "garbage");
    let refused = folder.run(&["deploy", "marker", "--component", "garbage.wasm"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let host = objects(&folder.run(&["nodes", "--json"]).out)[0]["host"].as_str().unwrap().to_owned();
    assert!(refused.err.contains(&format!("host {host}: the plugin `marker` cannot be loaded")), "{}", refused.err);
    assert!(refused.err.contains("so nothing was switched"), "{}", refused.err);
    assert_eq!(folder.run(&["deploy", "marker", "--canary", "100"]).code, 2);
    assert_eq!(folder.run(&["deploy", "marker", "--canary", "10", "--shadow"]).code, 2);
    assert_eq!(folder.run(&["deploy", "nowhere"]).code, 64);
    std::fs::remove_file(folder.path().join("marker/marker.wasm")).unwrap();
    let missing = folder.run(&["deploy", "marker"]);
    assert!(missing.err.contains("marker.wasm") && missing.err.contains("help: sandbar build marker"), "{missing:?}");
    assert_eq!(server.ask(&["EXISTS", "marks"]), Value::Int(0));
}

#[test]
fn a_release_is_tried_and_promoted() {
    let (_server, folder) = setup();
    let _host = run(&folder);
    poll_until_blocking(PATIENCE, "the host is there", || objects(&folder.run(&["nodes", "--json"]).out).len() == 1);
    assert_eq!(folder.run(&["deploy", "marker"]).code, 0);
    plugin(&folder, "two");
    let tried = folder.run(&["deploy", "marker", "--canary", "10"]);
    assert!(tried.out.contains(" is tried on 10 % of the calls\n"), "{tried:?}");
    let busy = folder.run(&["deploy", "marker"]);
    assert_eq!(busy.code, 1);
    assert!(busy.err.contains("help: sandbar plugins promote marker, or sandbar plugins drop marker"), "{busy:?}");
    assert!(folder.run(&["plugins"]).out.contains("; tries #2 "));
    let promoted = folder.run(&["plugins", "promote", "marker"]);
    assert!(promoted.out.starts_with("marker  #2 "), "{promoted:?}");
    let dropped = folder.run(&["plugins", "drop", "marker"]);
    assert_eq!((dropped.code, dropped.err.contains("no release is on trial")), (1, true), "{dropped:?}");
}

#[test]
fn hosts_tell_of_themselves() {
    let (_server, folder) = setup();
    let none = folder.run(&["nodes"]);
    assert_eq!((none.code, none.out.as_str()), (0, ""), "{none:?}");
    let host = run(&folder);
    poll_until_blocking(PATIENCE, "the host is there", || !folder.run(&["nodes", "--json"]).out.is_empty());
    let node: Json = objects(&folder.run(&["nodes", "--json"]).out)[0].clone();
    assert_eq!((&node["pid"], &node["alive"]), (&host.pid().into(), &true.into()), "{node}");
    assert!(node["listen"].as_str().unwrap().starts_with("127.0.0.1:"), "{node}");
    let line = folder.run(&["nodes"]).out;
    assert!(line.contains("  alive  http://127.0.0.1:") && line.contains("  plugins 0  "), "{line}");
    drop(host);
    poll_until_blocking(PATIENCE, "it counts as stopped", || {
        folder.run(&["nodes"]).out.contains("  stopped, last seen ")
    });
}

#[test]
fn a_plugin_whose_files_change_is_replaced() {
    let (server, folder) = setup();
    let config = std::fs::read_to_string(folder.path().join("sandbar.toml")).unwrap();
    folder.replace("sandbar.toml", format!("plugins = [\"marker\"]\n{config}"));
    let mut host = folder.start(&["run", "--watch", "--log-format", "json"]);
    server.append_counted("events", 1, 0..1);
    poll_until_blocking(PATIENCE, "it handles events", || marks(&server) == ["one"]);
    folder.replace("marker/plugin.toml", "name = 7");
    host.until("the wrong manifest is named", |_, err| err.contains("cannot be loaded").then_some(()));
    server.append_counted("events", 1, 1..2);
    poll_until_blocking(PATIENCE, "the old version goes on", || marks(&server) == ["one", "one"]);
    std::fs::remove_file(folder.path().join("marker/plugin.toml")).unwrap();
    plugin(&folder, "two");
    host.until("it is replaced", |_, err| err.contains("and are loaded").then_some(()));
    server.append_counted("events", 1, 2..3);
    poll_until_blocking(PATIENCE, "the new version handles events", || marks(&server) == ["one", "one", "two"]);
    assert_eq!(host.terminate().code, 0);
}
