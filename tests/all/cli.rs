//! The command line, as a user and a script meet it.

mod build;
mod dead;
mod dev;
mod feed;
mod fleet;
mod killed;
mod locks;
mod logs;
mod queues;
mod run;
mod schedules;
mod token;

use sandbar_tests::RedisServer;
use sandbar_tests::program::Folder;

/// An empty folder to start the program in.
fn folder() -> Folder {
    Folder::new(env!("CARGO_BIN_EXE_sandbar-under-test"))
}

/// The lines of a text as JSON objects; others are skipped.
fn objects(text: &str) -> Vec<serde_json::Value> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The entries of a stream, oldest first: names and values in turn.
fn entries(server: &RedisServer, stream: &str) -> Vec<Vec<String>> {
    let found: Vec<(String, Vec<String>)> =
        redis::cmd("XRANGE").arg(stream).arg("-").arg("+").query(&mut server.connect()).unwrap();
    found.into_iter().map(|(_, fields)| fields).collect()
}

#[test]
fn wrong_usage_is_code_2() {
    let folder = folder();
    assert_eq!(folder.run(&["feed"]).code, 2);
    assert_eq!(folder.run(&["dead", "retry", "--stream", "s"]).code, 2);
    assert_eq!(folder.run(&["dead", "drop", "--stream", "s", "--all", "1-0"]).code, 2);
    let help = folder.run(&["--help"]);
    assert_eq!(help.code, 0);
    assert!(help.out.contains("Exit codes:"), "{}", help.out);
}

#[test]
fn a_wrong_configuration_is_code_64_and_says_what_to_do() {
    let folder = folder();
    let missing = folder.run(&["run"]);
    assert_eq!(missing.code, 64);
    insta::assert_snapshot!(missing.err, @r#"
    error: cannot read `sandbar.toml`: No such file or directory (os error 2)
    help: name a configuration that is there, or write one: `plugins = ["my-plugin"]` is enough
    "#);
    folder.write("sandbar.toml", "[http]\nlisten = \"here\"\n");
    let wrong = folder.run(&["run"]);
    assert_eq!(wrong.code, 64);
    insta::assert_snapshot!(wrong.err, @r#"
    error: `sandbar.toml` is not a configuration: TOML parse error at line 2, column 10
      |
    2 | listen = "here"
      |          ^^^^^^
    invalid socket address syntax
    "#);
    folder.write("sandbar.toml", "plugins = [\"a\"]\n[store]\nurl = \"embedded\"\n");
    folder.write("a/plugin.toml", "name = \"a\"\n");
    folder.write("a/Cargo.toml", "");
    let not_built = folder.run(&["run"]);
    assert_eq!(not_built.code, 64);
    insta::assert_snapshot!(not_built.err, @r#"
    error: the plugin `a` is not built: `a/a.wasm` is not there
    help: sandbar build a
    "#);
}

#[test]
fn a_store_that_is_not_there_is_code_69() {
    let folder = folder();
    let socket = format!("unix://{}", folder.path().join("nobody.sock").display());
    let finished = folder.run(&["dead", "list", "--stream", "s", "--redis-url", &socket]);
    assert_eq!(finished.code, 69, "{}", finished.err);
    let help = "help: start Redis there, name another with --redis-url or REDIS_URL";
    assert!(finished.err.contains(help), "{}", finished.err);
    let told = folder.run(&["dead", "list", "--stream", "s", "--redis-url", &socket, "--json"]);
    assert_eq!(objects(&told.err)[0]["exit"], 69);
}

#[test]
fn a_store_in_another_process_cannot_be_worked_on() {
    let folder = folder();
    folder.write("sandbar.toml", "[store]\nurl = \"embedded\"\n");
    let finished = folder.run_with(&["feed", "s", "-"], "{\"a\":1}\n");
    assert_eq!(finished.code, 2);
    insta::assert_snapshot!(finished.err, @r#"
    error: `sandbar.toml` has an embedded store, which only the host's own process sees
    help: `sandbar feed` works on Redis: pass --redis-url or set REDIS_URL
    "#);
}
