//! `sandbar deploy`, killed in the middle: the hosts bring to an end what it has begun, and the next one is not held
//! up.

use std::time::Duration;

use rustix::process::Signal;
use sandbar_tests::program::{Folder, Running};
use sandbar_tests::{RedisServer, poll_until_blocking};
use serde_json::Value;

use super::fleet::{marks, plugin, run, setup};
use super::objects;

const PATIENCE: Duration = Duration::from_secs(60);

/// Two hosts that run the first release.
fn hosts(folder: &Folder) -> [Running; 2] {
    let hosts = [run(folder), run(folder)];
    poll_until_blocking(PATIENCE, "two hosts are there", || objects(&folder.run(&["nodes", "--json"]).out).len() == 2);
    let deployed = folder.run(&["deploy", "marker"]);
    assert_eq!(deployed.code, 0, "{deployed:?}");
    hosts
}

/// What the fleet knows of the plugin.
fn record(server: &RedisServer) -> Value {
    let text: Option<String> = server.get(&["GET", "sandbar:fleet:plugin:default:marker"]);
    text.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap())
}

fn is_prepared(record: &Value, number: u64) -> bool {
    record["phase"]["kind"] == "preparing" && record["candidate"]["release"]["number"] == number
}

/// Begins a deploy, and kills it while the hosts prepare the release of this number.
fn killed(server: &RedisServer, folder: &Folder, arguments: &[&str], number: u64) {
    let deploy = folder.start(&[&["deploy", "marker"], arguments].concat());
    poll_until_blocking(PATIENCE, "the release is being prepared", || is_prepared(&record(server), number));
    deploy.signal(Signal::KILL);
    assert_eq!(deploy.wait().code, -1, "it was killed");
    assert!(is_prepared(&record(server), number), "nothing is decided yet");
}

/// Waits until nothing is being prepared, and answers the number of the active release.
fn settled(server: &RedisServer) -> u64 {
    poll_until_blocking(PATIENCE, "it is decided", || record(server)["phase"]["kind"] == "settled");
    record(server)["active"]["number"].as_u64().unwrap()
}

/// Deploys another version, which handles the next event.
fn goes_on(server: &RedisServer, folder: &Folder, mark: &str, event: u64) {
    plugin(folder, mark);
    let deployed = folder.run(&["deploy", "marker", "--json"]);
    assert_eq!(deployed.code, 0, "{deployed:?}");
    let told = &objects(&deployed.out)[0];
    assert_eq!(told["outcome"], "active", "{told}");
    assert!(told["hosts"].as_array().unwrap().iter().all(|host| host["standing"]["kind"] == "good"), "{told}");
    server.append_counted("events", 1, event..event + 1);
    poll_until_blocking(PATIENCE, "it handles events", || marks(server).last().is_some_and(|last| last == mark));
}

#[test]
fn the_hosts_switch_to_what_all_of_them_can_run() {
    let (server, folder) = setup();
    let [_first, second] = hosts(&folder);
    second.signal(Signal::STOP);
    plugin(&folder, "two");
    killed(&server, &folder, &[], 2);
    second.signal(Signal::CONT);
    assert_eq!(settled(&server), 2);
    poll_until_blocking(PATIENCE, "both run it", || {
        folder.run(&["plugins", "marker"]).out.matches(" runs it\n").count() == 2
    });
    server.append_counted("events", 1, 0..1);
    poll_until_blocking(PATIENCE, "it handles events", || marks(&server) == ["two"]);
    goes_on(&server, &folder, "three", 1);
}

#[test]
fn the_hosts_call_off_what_they_cannot_run() {
    let (server, folder) = setup();
    let hosts = hosts(&folder);
    hosts.iter().for_each(|host| host.signal(Signal::STOP));
    folder.write("garbage.wasm", "garbage");
    killed(&server, &folder, &["--component", "garbage.wasm"], 2);
    hosts.iter().for_each(|host| host.signal(Signal::CONT));
    assert_eq!(settled(&server), 1);
    let why = &record(&server)["history"][0]["why"];
    assert_eq!(why["kind"], "failed", "{why}");
    assert!(why["hosts"][0]["reason"].as_str().unwrap().contains("no WebAssembly component"), "{why}");
    goes_on(&server, &folder, "three", 0);
}

#[test]
fn a_host_that_does_not_answer_holds_up_nobody() {
    let (server, folder) = setup();
    let [_first, second] = hosts(&folder);
    second.signal(Signal::STOP);
    plugin(&folder, "two");
    killed(&server, &folder, &["--wait", "1s"], 2);
    // Whether its time is over first, or the host that is stopped no longer counts as alive.
    let active = settled(&server);
    let why = &record(&server)["history"][0]["why"];
    match active {
        1 => assert_eq!(why["hosts"][0]["reason"], "it did not answer in time", "{why}"),
        _ => assert_eq!((active, &why["kind"]), (2, &"replaced".into())),
    }
    second.signal(Signal::CONT);
    poll_until_blocking(PATIENCE, "it tells of itself again", || {
        objects(&folder.run(&["nodes", "--json"]).out).iter().filter(|node| node["alive"] == true).count() == 2
    });
    goes_on(&server, &folder, "three", 0);
}

#[test]
fn at_whatever_instant_the_next_one_is_made() {
    let (server, folder) = setup();
    let _hosts = hosts(&folder);
    for (event, told) in (0..).zip(["", "is being loaded"]) {
        plugin(&folder, &format!("killed {event}"));
        let mut deploy = folder.start(&["deploy", "marker"]);
        deploy.until("it is as far", |_, err| err.contains(told).then_some(()));
        deploy.signal(Signal::KILL);
        deploy.wait();
        settled(&server);
        goes_on(&server, &folder, &format!("next {event}"), event);
    }
}
