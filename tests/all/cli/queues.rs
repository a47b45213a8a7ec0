//! `sandbar queues`, and dead letters of jobs.

use redis::Value;
use sandbar_tests::RedisServer;
use sandbar_tests::program::Folder;
use serde_json::json;

use super::{folder, objects};

/// A folder whose tenant has a prefix, and a server with a queue of it that was worked on.
fn setup() -> (RedisServer, Folder) {
    let (server, folder) = (RedisServer::start(), folder());
    folder.write("sandbar.toml", format!("[tenant]\nprefix = \"t[1]:\"\n[store]\nurl = \"{}\"\n", server.url()));
    server.ask(&["LPUSH", "t[1]:mail", "a", "b"]);
    server.ask(&["SET", "t[1]:sandbar:queue:mail:seq", "7"]);
    server.ask(&["ZADD", "t[1]:sandbar:queue:mail:delayed", "9999999999999", "7 1 0 0 5\nlater"]);
    // Another tenant's, which the first one's prefix as a pattern would match.
    server.ask(&["SET", "t1:sandbar:queue:other:seq", "7"]);
    (server, folder)
}

#[test]
fn queues_are_listed_and_counted() {
    let (_server, folder) = setup();
    let listed = folder.run(&["queues", "list"]);
    assert_eq!((listed.code, listed.out.as_str()), (0, "mail  ready 2  delayed 1  leased 0  dead 0\n"), "{listed:?}");
    let length = folder.run(&["queues", "length", "mail", "--json"]);
    let state = json!({ "queue": "mail", "paused": false, "ready": 2, "delayed": 1, "leased": 0, "dead": 0 });
    assert_eq!(objects(&length.out), [state]);
    let missing = folder.run(&["queues", "length", "nothing"]);
    assert_eq!(missing.out, "nothing  ready 0  delayed 0  leased 0  dead 0\n");
}

#[test]
fn a_queue_is_paused_and_goes_on() {
    let (server, folder) = setup();
    let exists = |queue: &str| server.ask(&["EXISTS", &format!("t[1]:sandbar:queue:{queue}:paused")]);
    let paused = folder.run(&["queues", "pause", "new"]);
    assert_eq!((paused.code, paused.out.as_str()), (0, "`new` is paused\n"));
    assert_eq!(folder.run(&["queues", "pause", "new"]).out, "`new` is paused, as it was before\n");
    assert_eq!(exists("new"), Value::Int(1));
    let listed = folder.run(&["queues", "list"]).out;
    assert_eq!(
        listed,
        "mail  ready 2  delayed 1  leased 0  dead 0\nnew  ready 0  delayed 0  leased 0  dead 0  paused\n"
    );
    let resumed = folder.run(&["queues", "resume", "new", "--json"]);
    assert_eq!(objects(&resumed.out), [json!({ "queue": "new", "paused": false, "changed": true })]);
    assert_eq!(folder.run(&["queues", "resume", "new"]).out, "`new` goes on, as it was before\n");
    assert_eq!(exists("new"), Value::Int(0));
}

#[test]
fn what_is_not_a_queue_is_an_error() {
    let (server, folder) = setup();
    server.ask(&["SET", "t[1]:text", "x"]);
    let finished = folder.run(&["queues", "length", "text"]);
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(finished.err.contains("`t[1]:text` holds another kind of value"), "{}", finished.err);
    assert_eq!(folder.run(&["queues", "pause", ""]).code, 2);
}

#[test]
fn a_dead_job_goes_back_to_its_queue() {
    let (server, folder) = setup();
    let about = [("reason", "bad"), ("attempt", "3"), ("plugin", "p"), ("version", "0f"), ("time", "1795000000000")];
    for payload in ["first", "second"] {
        let mut add = redis::cmd("XADD");
        add.arg("t[1]:mail:dead").arg("*").arg(&about).arg(&[("id", "7"), ("payload", payload)]);
        add.exec(&mut server.connect()).unwrap();
    }
    let shown = folder.run(&["dead", "list", "--queue", "mail", "--json"]);
    assert_eq!(objects(&shown.out)[0]["payload"], "second");
    let retried = folder.run(&["dead", "retry", "--queue", "mail", "--all"]);
    assert_eq!((retried.code, retried.out.as_str()), (0, "2 dead letters sent back to `t[1]:mail`\n"), "{retried:?}");
    let jobs: Vec<String> = server.get(&["LRANGE", "t[1]:mail", "0", "-1"]);
    assert_eq!(jobs, ["second", "first", "b", "a"]);
    assert_eq!(server.ask(&["XLEN", "t[1]:mail:dead"]), Value::Int(0));
    assert_eq!(folder.run(&["dead", "list"]).code, 2, "one of --stream and --queue");
}
