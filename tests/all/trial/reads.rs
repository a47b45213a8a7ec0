//! What a plugin reads elsewhere than in the store is on the recording too, with its errors: answers of requests, and
//! tiered reads.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use sandbar_core::config::Config;
use sandbar_tests::{RedisServer, TestHost, components, open_manifest};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::replay::{folder, redis, replayed};
use crate::http_out::Server;

const TRIGGER: &str = "batch = 1\nmax-attempts = 1\nrecord = true";
const LIMITS: &str = "http = [\"*\"]\n[limits]\ndeadline = \"20s\"\nhttp-request-bytes = \"64KiB\"\nhttp-response-bytes = \"64KiB\"\nhttp-requests = 2";

/// An address without a listener.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_from_the_recording_and_not_sent_again() {
    let redis_server = RedisServer::start();
    let (site, denied, nobody) = (Server::start().await, Server::start().await, nobody().await.to_string());
    let config = format!("[tenant.grants]\nhttp = [\"{}\", \"{nobody}\"]", site.at());
    let manifest = open_manifest(TRIGGER, LIMITS);
    let config = Config::parse(&config).unwrap();
    let test = TestHost::with(config, redis(&redis_server).await, components::HTTP_SEND, &manifest).await;
    let words = ["answer", "redirect", "large", "stalls", "silent", "many", "invalid"];
    let here = words.map(|word| (word, site.at()));
    let asked: Vec<(&str, String)> =
        here.into_iter().chain([("denied", denied.at()), ("nobody", nobody), ("answer", site.at())]).collect();
    for (done, (word, at)) in (1..).zip(&asked) {
        test.feed(&[&[("do", *word), ("at", at.as_str())]]).await;
        test.settled(done).await;
    }
    assert_eq!(test.reasons().await, Vec::<String>::new());
    test.host.shutdown().await;

    let connections = site.connections.load(Ordering::Relaxed);
    let folder = folder(&redis_server, &manifest);
    folder.write("guest/guest.wasm", std::fs::read(components::HTTP_SEND).unwrap());
    let told = replayed(&folder, &["--stream", "events"]);
    assert_eq!(told.len(), asked.len());
    for ((word, _), told) in asked.iter().zip(&told) {
        assert_eq!((&told["outcomes"], &told["unknown"]), (&json!(["done"]), &Value::Null), "{word}: {told}");
        assert_eq!(told["effects"], json!([{ "does": "cache.add", "key": "passed", "by": 1 }]), "{word}");
    }
    assert_eq!(site.connections.load(Ordering::Relaxed), connections, "a request was sent");
    assert_eq!(denied.connections.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tiered_reads_are_answered_from_the_recording_and_load_nothing() {
    const KEYS: [(&str, &str); 3] = [("k:1", "= v"), ("k:2", "none"), ("k:3", "fail")];
    let server = RedisServer::start();
    let manifest = open_manifest(TRIGGER, "");
    let test = TestHost::on(redis(&server).await, components::CACHE_FETCH, &manifest).await;
    for (key, source) in KEYS {
        server.ask(&["SET", &format!("source:{key}"), source]);
    }
    let events: Vec<[(&str, &str); 3]> =
        KEYS.iter().map(|(key, _)| [("key", *key), ("ttl", "600000"), ("negative", "60000")]).collect();
    test.feed(&events.iter().map(|event| &event[..]).collect::<Vec<_>>()).await;
    test.settled(3).await;
    assert_eq!(test.reasons().await, Vec::<String>::new());
    test.host.shutdown().await;

    // Both the store and the source have something else by now.
    let noted = KEYS.map(|(key, _)| server.get::<String>(&["GET", &format!("answer:{key}")]));
    assert_eq!((noted[0].as_str(), noted[1].as_str()), ("= v", "none"));
    let loads = || KEYS.map(|(key, _)| server.get::<u64>(&["GET", &format!("loads:{key}")]));
    let before = loads();
    for (key, _) in KEYS {
        server.ask(&["SET", key, "another"]);
        server.ask(&["SET", &format!("source:{key}"), "= another"]);
    }
    let folder = folder(&server, &manifest);
    folder.write("guest/guest.wasm", std::fs::read(components::CACHE_FETCH).unwrap());
    let told = replayed(&folder, &["--stream", "events"]);
    assert_eq!(told.len(), 3);
    for (((key, _), noted), told) in KEYS.iter().zip(&noted).zip(&told) {
        assert_eq!(told["unknown"], Value::Null, "{told}");
        let set = json!([{ "does": "cache.set", "key": format!("answer:{key}"), "value": noted }]);
        assert_eq!((&told["outcomes"], &told["effects"]), (&json!(["done"]), &set));
    }
    assert_eq!(loads(), before, "the replay has loaded something");
}
