//! `sandbar dead`.

use redis::Value;
use sandbar_tests::RedisServer;

use super::{entries, folder, objects};

/// A dead letter whose event has the number `n`.
fn die(server: &RedisServer, n: usize) -> String {
    let about = [("reason", "`id` is missing"), ("attempt", "3"), ("plugin", "p"), ("version", "0f"), ("group", "g")];
    let mut add = redis::cmd("XADD");
    add.arg("t:s:dead").arg("*").arg(&about).arg(&[("time", "1795000000000"), ("id", "7-1")]);
    add.arg("field:n").arg(n).query(&mut server.connect()).unwrap()
}

/// A folder whose tenant has a prefix, and a server with so many dead letters.
fn setup(dead_letters: usize) -> (RedisServer, sandbar_tests::program::Folder, Vec<String>) {
    let (server, folder) = (RedisServer::start(), folder());
    folder.write("sandbar.toml", format!("[tenant]\nprefix = \"t:\"\n[store]\nurl = \"{}\"\n", server.url()));
    let ids = (0..dead_letters).map(|n| die(&server, n)).collect();
    (server, folder, ids)
}

#[test]
fn dead_letters_are_listed_newest_first_and_shown() {
    let (_server, folder, ids) = setup(3);
    let listed = folder.run(&["dead", "list", "--stream", "s", "--limit", "2", "--json"]);
    let found: Vec<_> =
        objects(&listed.out).iter().map(|dead_letter| dead_letter["dead_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found, [ids[2].clone(), ids[1].clone()]);
    let line = folder.run(&["dead", "list", "--stream", "s", "--limit", "1"]).out;
    assert_eq!(line, format!("{}  2026-11-18T11:06:40.000Z  p  attempt 3  `id` is missing\n", ids[2]));
    let shown = folder.run(&["dead", "show", "--stream", "s", &ids[0]]);
    insta::assert_snapshot!(shown.out.replace(&ids[0], "ID"), @r#"
    ID
      reason   `id` is missing
      attempt  3
      plugin   p
      version  0f
      group    g
      time     2026-11-18T11:06:40.000Z
      id       7-1
      the event:
        n = 0
    "#);
}

#[test]
fn retry_puts_the_event_back_and_drop_does_not() {
    let (server, folder, ids) = setup(4);
    let retried = folder.run(&["dead", "retry", "--stream", "s", &ids[1], &ids[1]]);
    assert_eq!((retried.code, retried.out.as_str()), (0, "1 dead letter sent back to `t:s`\n"));
    let dropped = folder.run(&["dead", "drop", "--stream", "s", &ids[0]]);
    assert_eq!((dropped.code, dropped.out.as_str()), (0, "1 dead letter dropped\n"));
    assert_eq!(entries(&server, "t:s"), [["n", "1"]], "the event alone, as it was");
    assert_eq!(server.ask(&["XLEN", "t:s:dead"]), Value::Int(2));
}

#[test]
fn all_dead_letters_can_be_sent_back() {
    let (server, folder, _) = setup(250);
    let retried = folder.run(&["dead", "retry", "--stream", "s", "--all", "--json"]);
    assert_eq!(objects(&retried.out)[0]["letters"], 250);
    assert_eq!(server.ask(&["XLEN", "t:s"]), Value::Int(250));
    assert_eq!(server.ask(&["XLEN", "t:s:dead"]), Value::Int(0));
    let none = folder.run(&["dead", "list", "--stream", "s"]);
    assert_eq!((none.code, none.out.as_str(), none.err.as_str()), (0, "", "no dead letters in `t:s:dead`\n"));
}

#[test]
fn nothing_is_done_where_a_dead_letter_is_missing() {
    let (server, folder, ids) = setup(1);
    let finished = folder.run(&["dead", "drop", "--stream", "s", &ids[0], "1-1"]);
    assert_eq!(finished.code, 1);
    insta::assert_snapshot!(finished.err, @r#"
    error: there is no dead letter 1-1 in `t:s:dead`; nothing was done
    help: sandbar dead list --stream s
    "#);
    assert_eq!(server.ask(&["XLEN", "t:s:dead"]), Value::Int(1));
}

#[test]
fn dead_letters_without_an_event_are_left() {
    let (server, folder, _) = setup(1);
    server.ask(&["XADD", "t:s:dead", "9999999999999-0", "reason", "by hand"]);
    let finished = folder.run(&["dead", "retry", "--stream", "s", "--all"]);
    assert_eq!(finished.code, 1);
    insta::assert_snapshot!(finished.err, @r#"
    error: no event is in 9999999999999-0: no field begins with `field:`; left as they are
    help: sandbar dead show --stream s ID
    "#);
    assert_eq!(server.ask(&["XLEN", "t:s:dead"]), Value::Int(1));
    assert_eq!(server.ask(&["XLEN", "t:s"]), Value::Int(1));
}

#[test]
fn a_dead_letter_stays_where_its_stream_has_become_something_else() {
    let (server, folder, _) = setup(2);
    server.ask(&["SET", "t:s", "x"]);
    let finished = folder.run(&["dead", "retry", "--stream", "s", "--all"]);
    assert_eq!(finished.code, 1, "{}", finished.err);
    assert_eq!(server.ask(&["XLEN", "t:s:dead"]), Value::Int(2));
}
