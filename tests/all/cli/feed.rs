//! `sandbar feed`.

use redis::Value;
use rustix::process::Signal;
use sandbar_tests::RedisServer;

use super::{entries, folder, objects};

/// So many lines.
fn lines(count: usize) -> String {
    (0..count).map(|n| format!("{{\"n\": {n}, \"text\": \"é\", \"deep\": {{\"x\": [1.50]}}}}\n")).collect()
}

#[test]
fn every_line_becomes_one_entry_in_order() {
    let (server, folder) = (RedisServer::start(), folder());
    folder.write("events.jsonl", lines(2500));
    folder.write("sandbar.toml", "[tenant]\nprefix = \"t:\"\n");
    let url = server.url();
    let finished = folder.run(&["feed", "s", "events.jsonl", "--repeat", "2", "--redis-url", &url, "--json"]);
    assert_eq!(finished.code, 0, "{}", finished.err);
    assert_eq!(objects(&finished.out)[0]["events"], 5000);
    let entries = entries(&server, "t:s");
    let numbers: Vec<usize> = entries.iter().map(|fields| fields[1].parse().unwrap()).collect();
    assert_eq!(numbers, (0..2500).chain(0..2500).collect::<Vec<_>>());
    assert_eq!(entries[7], ["n", "7", "text", "é", "deep", "{\"x\": [1.50]}"]);
}

#[test]
fn a_bad_line_ends_the_feed_and_loses_nothing() {
    let (server, folder) = (RedisServer::start(), folder());
    let url = server.url();
    let bad = format!("{}\n{{\"n\": }}\n{}", lines(1200), lines(10));
    let finished = folder.run_with(&["feed", "s", "-", "--redis-url", &url], &bad);
    assert_eq!(finished.code, 65);
    insta::assert_snapshot!(finished.err, @r#"
    error: `-`, line 1202: expected value (column 7); the 1200 entries before that are in the stream
    help: correct the line, then go on with --skip 1200
    "#);
    assert_eq!(server.ask(&["XLEN", "s"]), Value::Int(1200));
    let rest =
        folder.run_with(&["feed", "s", "-", "--redis-url", &url, "--skip", "1200"], &bad.replace("{\"n\": }\n", ""));
    assert_eq!(rest.code, 0, "{}", rest.err);
    assert_eq!(server.ask(&["XLEN", "s"]), Value::Int(1210));
}

#[test]
fn what_is_no_stream_is_left_alone() {
    let (server, folder) = (RedisServer::start(), folder());
    server.ask(&["LPUSH", "s", "x"]);
    let finished = folder.run_with(&["feed", "s", "-", "--redis-url", &server.url()], "{\"a\":1}\n");
    assert_eq!(finished.code, 1);
    insta::assert_snapshot!(finished.err, @r#"
    error: cannot append to `s`: `s` holds another kind of value
    help: nothing was appended
    "#);
}

#[test]
fn an_interrupted_feed_says_how_far_it_came() {
    let (server, folder) = (RedisServer::start(), folder());
    folder.write("events.jsonl", lines(10));
    let url = server.url();
    let running =
        folder.start(&["feed", "s", "events.jsonl", "--repeat", "0", "--rate", "500", "--redis-url", &url, "--json"]);
    let fed = || matches!(server.ask(&["XLEN", "s"]), Value::Int(length) if length >= 20);
    sandbar_tests::poll_until_blocking(std::time::Duration::from_secs(30), "events arrive", fed);
    running.signal(Signal::INT);
    let finished = running.wait();
    assert_eq!(finished.code, 130, "{}", finished.err);
    let told = objects(&finished.out)[0]["events"].as_i64().unwrap();
    assert_eq!(server.ask(&["XLEN", "s"]), Value::Int(told));
}
