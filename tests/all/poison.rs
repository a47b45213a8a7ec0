//! A poison event among many: it ends in the dead letters with its reason, all others are done once, and the host's
//! memory is flat.
//!
//! The host is a process of its own, so that its memory is its own. `SANDBAR_LONG=1` runs 100,000 events instead of
//! 3,000.

use std::collections::BTreeMap;
use std::time::Duration;

use sandbar_tests::process::HostProcess;
use sandbar_tests::{Group, RedisServer, components, open_manifest};

const TRIGGER: &str =
    "batch = 100\nconcurrency = 2\nprefetch = 1\nmax-attempts = 2\nretry-min = \"10ms\"\nretry-max = \"20ms\"";
const LIMITS: &str = "[limits]\ndeadline = \"100ms\"\nmemory = \"16MiB\"";
/// What an event does, the last attempt at it, and what its reason must say.
const POISON: [(&str, &str, &str); 8] = [
    ("trap", "2", "the plugin trapped: wasm trap: wasm `unreachable` instruction executed"),
    ("loop", "2", "longer than `limits.deadline` (100ms)"),
    ("memory", "2", "beyond `limits.memory` (16777216 bytes)"),
    ("error", "2", "this handler answers an error"),
    ("short", "2", "answered 0 outcomes for 1 events"),
    ("panic", "2", "this handler panics"),
    ("reject", "1", "this event is rejected"),
    ("large", "1", "xxxxxxxxxxxxxxxx"),
];
/// How much the resident memory may grow after the host has met each poison once. Less than two instances of 16 MiB
/// that are kept by mistake.
const GROWTH_BYTES_MAX: u64 = 24 << 20;
/// Enough for the long form on a busy machine.
const SETTLE: Duration = Duration::from_secs(300);

#[test]
fn poison_is_set_aside_and_the_rest_is_done_once() {
    let is_long = std::env::var_os("SANDBAR_LONG").is_some();
    let (events, rounds) = if is_long { (100_000, 10) } else { (3_000, 2) };
    let server = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("plugin.toml");
    std::fs::write(&manifest, open_manifest(TRIGGER, LIMITS)).unwrap();
    let program = env!("CARGO_BIN_EXE_host-under-test");
    let mut host = HostProcess::start(program, &server.url(), &manifest, components::HANDLE_POISON, None);
    host.ready();
    let group = Group::new(&server, "events", "guest");

    feed(&server, events / 3, 1);
    group.settled(SETTLE);
    let warm = host.resident_bytes();
    feed(&server, events - events / 3, rounds);
    group.settled(SETTLE);
    let grown = host.resident_bytes().saturating_sub(warm);
    println!("{events} events: {warm} bytes resident after the first third, {grown} more at the end");

    assert_eq!(server.get::<u64>(&["GET", "done"]), events as u64, "each event that is well is done once");
    assert_eq!(server.get::<Option<u64>>(&["GET", "leaked"]), None, "what failed has written nothing");
    for key in ["sandbar:attempts:events:guest", "sandbar:retry:events:guest"] {
        assert_eq!(server.get::<u64>(&["EXISTS", key]), 0, "{key} is left behind");
    }
    let dead_letters: Vec<(String, BTreeMap<String, String>)> = server.get(&["XRANGE", "events:dead", "-", "+"]);
    assert_eq!(dead_letters.len(), POISON.len() * (1 + rounds));
    for (what, attempt, reason) in POISON {
        let of_kind: Vec<_> = dead_letters
            .iter()
            .map(|(_, dead_letter)| dead_letter)
            .filter(|dead_letter| dead_letter["field:do"] == what)
            .collect();
        assert_eq!(of_kind.len(), 1 + rounds, "dead letters of `{what}`");
        for dead_letter in of_kind {
            assert!(dead_letter["reason"].contains(reason), "`{what}`: {}", dead_letter["reason"]);
            assert!(dead_letter["reason"].len() <= 4096, "`{what}`: a reason of {} bytes", dead_letter["reason"].len());
            assert_eq!((&dead_letter["attempt"][..], &dead_letter["group"][..]), (attempt, "guest"), "`{what}`");
        }
    }
    assert!(grown <= GROWTH_BYTES_MAX, "the memory has grown by {grown} bytes");
    assert!(host.terminate());
}

/// Appends so many events that are well, with every poison among them so many times.
fn feed(server: &RedisServer, well: usize, rounds: usize) {
    let poison: Vec<&str> = POISON.iter().map(|(what, ..)| *what).cycle().take(POISON.len() * rounds).collect();
    let apart = well / poison.len();
    let entries = (0..well).flat_map(|at| {
        let due = if at % apart == 0 { poison.get(at / apart) } else { None };
        due.into_iter().copied().chain(["ok"])
    });
    server.append("events", entries.map(|what| vec![("do", what.to_owned())]));
}
