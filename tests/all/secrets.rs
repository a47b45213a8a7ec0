//! Texts that a configuration only refers to: they reach the plugin alone.

use std::time::Duration;

use sandbar_tests::program::{Folder, request};
use sandbar_tests::{RedisServer, components, poll_until_blocking};

const LIMIT: Duration = Duration::from_secs(60);
const FROM_ENV: &str = "hunter2-from-env";
const FROM_FILE: &str = "hunter2-from-file";

fn folder(server: &RedisServer, grants: &str, mark: &str) -> Folder {
    let folder = Folder::new(env!("CARGO_BIN_EXE_sandbar-under-test"));
    folder.write(
        "sandbar.toml",
        format!(
            "plugins = [\"plugin\"]\n[http]\nlisten = \"127.0.0.1:0\"\n[store]\nurl = {{ env = \"STORE_URL\" }}\n[tenant]\n{grants}\n"
        ),
    );
    folder.write(
        "plugin/plugin.toml",
        format!(
            "name = \"marker\"\ncomponent = \"marker.wasm\"\n[[trigger]]\ntype = \"stream\"\nstream = \"s\"\nstart = \"0\"\n\
             [grants]\nread = [\"*\"]\nwrite = [\"*\"]\n[config]\nmark = {mark}\n"
        ),
    );
    folder.write("plugin/marker.wasm", std::fs::read(components::HANDLE_MARK).unwrap());
    folder.write("secrets/mark", format!("{FROM_FILE}\n"));
    server.append_counted("s", 1, 0..1);
    folder
}

fn lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The plugin gets the text; no log line, no answer of the API and no record has it.
fn reaches_the_plugin(mark: &str, secret: &str) {
    let server = RedisServer::start();
    let url = server.url();
    let folder = folder(&server, "env = [\"ACME_*\"]\nsecret-files = [\"secrets/*\"]", mark);
    let variables = [("STORE_URL", url.as_str()), ("ACME_MARK", FROM_ENV)];
    let token = folder.run_in(&["token", "create", "t", "--role", "deploy"], &variables).out.trim().to_owned();
    let mut running = folder.start_in(&["run", "-vv", "--log-format", "json"], &variables);
    let address = running.until("the host says where it answers", |_, err| {
        let started = lines(err).into_iter().find(|line| line["message"] == "started")?;
        Some(started["address"].as_str()?.to_owned())
    });
    poll_until_blocking(LIMIT, "the event is handled", || {
        !server.get::<Vec<String>>(&["LRANGE", "marks", "0", "-1"]).is_empty()
    });
    assert_eq!(server.get::<Vec<String>>(&["LRANGE", "marks", "0", "-1"]), [secret]);
    // The same over the fleet: what is kept has the reference in it.
    let deployed = folder.run_in(&["deploy", "plugin"], &variables);
    assert_eq!(deployed.code, 0, "{deployed:?}");
    let record: String = server.get(&["GET", "sandbar:fleet:plugin:default:marker"]);
    assert!(record.contains("mark = {") && !record.contains(secret), "{record}");
    server.append_counted("s", 1, 1..2);
    poll_until_blocking(LIMIT, "the next event is handled", || {
        server.get::<Vec<String>>(&["LRANGE", "marks", "0", "-1"]).len() == 2
    });
    let head = format!("authorization: Bearer {token}\r\n");
    for path in ["/api/v1/plugins", "/api/v1/plugins/marker", "/api/v1/nodes", "/healthz", "/metrics"] {
        let (status, body) = request(&address, "GET", path, &head).unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        assert!(!body.contains(secret), "{path}: {body}");
    }
    let told = folder.run_in(&["plugins", "marker", "--json"], &variables);
    let finished = running.terminate();
    for text in [&told.out, &deployed.out, &deployed.err, &finished.out, &finished.err] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn a_variable_reaches_the_plugin_alone() {
    reaches_the_plugin("{ env = \"ACME_MARK\" }", FROM_ENV);
}

#[test]
fn a_file_reaches_the_plugin_alone() {
    reaches_the_plugin("{ file = \"secrets/mark\" }", FROM_FILE);
}

#[test]
fn what_is_missing_or_not_granted_is_named() {
    let server = RedisServer::start();
    let url = server.url();
    let grants = "env = [\"ACME_*\"]\nsecret-files = [\"secrets/*\"]";
    let run = |grants: &str, mark: &str| {
        let folder = folder(&server, grants, mark);
        let finished =
            folder.run_in(&["run"], &[("STORE_URL", &url), ("ACME_MARK", FROM_ENV), ("HOME_SECRET", FROM_ENV)]);
        assert_eq!(finished.code, 64, "{finished:?}");
        assert!(!finished.err.contains("hunter2"), "{}", finished.err);
        finished.err
    };
    let missing = run(grants, "{ env = \"ACME_NONE\" }");
    assert!(missing.contains("the variable `ACME_NONE`, which is not set"), "{missing}");
    let missing = run(grants, "{ file = \"secrets/none\" }");
    assert!(missing.contains("the file `secrets/none`, which cannot be read"), "{missing}");
    for mark in [
        "{ env = \"HOME_SECRET\" }",
        "{ file = \"sandbar.toml\" }",
        "{ file = \"secrets/../sandbar.toml\" }",
        "{ file = \"/etc/passwd\" }",
    ] {
        assert!(run(grants, mark).contains("which the tenant `default` does not grant"), "{mark}");
    }
    assert!(run("", "{ env = \"ACME_MARK\" }").contains("does not grant"), "nothing is granted by default");
}

#[test]
fn a_host_says_which_variable_of_its_own_is_missing() {
    let server = RedisServer::start();
    let folder = folder(&server, "", "\"x\"");
    let finished = folder.run(&["run"]);
    assert_eq!(finished.code, 64, "{finished:?}");
    assert!(
        finished.err.contains("`store.url` refers to the variable `STORE_URL`, which is not set"),
        "{}",
        finished.err
    );
}

#[test]
fn a_password_of_the_store_stands_in_a_file() {
    let server = sandbar_tests::Options::new().port().user("alice", "s3cret-hunter2").start();
    let folder = Folder::new(env!("CARGO_BIN_EXE_sandbar-under-test"));
    let port = server.port();
    folder.write("pw", "s3cret-hunter2\n");
    folder.write(
        "sandbar.toml",
        format!("[store]\nurl = \"redis://alice@127.0.0.1:{port}\"\npassword = {{ file = \"pw\" }}\n"),
    );
    let listed = folder.run(&["queues", "list", "-vv"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    folder.write("pw", "wrong-hunter2");
    let refused = folder.run(&["queues", "list", "-vv"]);
    assert_ne!(refused.code, 0);
    assert!(!refused.err.contains("hunter2"), "{}", refused.err);
}
