//! The way of an event through the whole program: fed, rejected by a plugin, counted, found among the dead letters,
//! sent back to the running host, dead again, and dropped.

use std::time::Duration;

use sandbar_tests::program::{Finished, Folder, get};
use sandbar_tests::{RedisServer, components, open_manifest, poll_until_blocking};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// The JSON objects that a command printed, one a line.
fn objects(finished: &Finished) -> Vec<Value> {
    assert_eq!(finished.code, 0, "{finished:?}");
    finished.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How many events the host has counted with an outcome.
fn events(address: &str, outcome: &str) -> Option<u64> {
    let (_, text) = get(address, "/metrics")?;
    let mut lines = text.lines().filter(|line| line.starts_with("sandbar_events_total{"));
    let line =
        lines.find(|line| line.contains(&format!("outcome=\"{outcome}\"")) && line.contains("plugin=\"guest\""))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_dead_letter_is_looked_after_while_its_host_runs() {
    let server = RedisServer::start();
    let url = server.url();
    let folder = Folder::new(env!("CARGO_BIN_EXE_sandbar-under-test"));
    folder.write(
        "sandbar.toml",
        format!("plugins = [\"guest\"]\n[store]\nurl = {url:?}\n[http]\nlisten = \"127.0.0.1:0\"\n"),
    );
    let manifest = open_manifest("max-attempts = 2\nretry-min = \"1ms\"\nretry-max = \"2ms\"", "");
    folder.write("guest/plugin.toml", format!("component = {:?}\n{manifest}", components::HANDLE_POISON));
    let lines = "{\"do\":\"ok\"}\n{\"do\":\"reject\",\"n\":1}\n\n{\"do\":\"panic\"}\n";
    let fed = objects(&folder.run_with(&["feed", "events", "-", "--json"], lines));
    assert_eq!((&fed[0]["stream"], &fed[0]["events"]), (&json!("events"), &json!(3)), "{fed:?}");

    let mut host = folder.start(&["run", "--log-format", "json"]);
    let address = host.until("the host logs where it listens", |_, log| {
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find_map(|line| line["address"].as_str().map(str::to_owned))
    });
    let counted = |done, dead| events(&address, "done") == Some(done) && events(&address, "dead") == Some(dead);
    poll_until_blocking(PATIENCE, "all events are counted", || counted(1, 2));
    assert_eq!(events(&address, "retry"), Some(1), "the panic was tried twice");

    let dead = |arguments: &[&str]| folder.run(&[&["dead", "--json"], arguments, &["--stream", "events"]].concat());
    let dead_letters = objects(&dead(&["list"]));
    assert_eq!(dead_letters.len(), 2, "{dead_letters:?}");
    let dead_letter = |what: &str| dead_letters.iter().find(|dead_letter| dead_letter["fields"]["do"] == what).unwrap();
    assert!(dead_letter("panic")["reason"].as_str().unwrap().contains("this handler panics"), "{dead_letters:?}");
    assert_eq!(dead_letter("panic")["attempt"], 2);
    let rejected = dead_letter("reject");
    assert_eq!((&rejected["reason"], &rejected["attempt"]), (&json!("this event is rejected"), &json!(1)));
    assert_eq!(rejected["fields"], json!({ "do": "reject", "n": "1" }));
    let id = rejected["dead_id"].as_str().unwrap();
    assert_eq!(objects(&dead(&["show", id])), std::slice::from_ref(rejected));

    assert_eq!(objects(&dead(&["retry", id])), [json!({ "letters": 1, "left": [] })]);
    poll_until_blocking(PATIENCE, "the event is dead again", || counted(1, 3));
    let dead_letters = objects(&dead(&["list", "--limit", "1"]));
    assert_eq!(
        (&dead_letters[0]["fields"]["do"], &dead_letters[0]["attempt"]),
        (&json!("reject"), &json!(1)),
        "{dead_letters:?}"
    );
    assert_ne!(dead_letters[0]["dead_id"], id);
    let gone = dead(&["show", id]);
    let told: Value = serde_json::from_str(gone.err.lines().last().unwrap()).unwrap();
    assert_eq!((gone.code, &told["exit"], gone.out.as_str()), (1, &json!(1), ""), "{gone:?}");

    assert_eq!(objects(&dead(&["drop", "--all"])), [json!({ "letters": 2, "left": [] })]);
    assert_eq!(objects(&dead(&["list"])), Vec::<Value>::new());
    assert_eq!(server.get::<u64>(&["XLEN", "events:dead"]), 0);
    assert_eq!(host.terminate().code, 0);
}
