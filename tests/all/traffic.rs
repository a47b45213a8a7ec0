//! The traffic system: real detections and made-up assessments through `result-aggregator`, on both stores.
//!
//! What must come out is computed from what goes in, by the fate that each entry carries, and compared with what a
//! real subscriber hears, in its order, and with what the keys hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use sandbar_core::config::StoreConfig;
use sandbar_examples::traffic::{Converter, Entry, Expected, Fate, Generator, convert, generate};
use sandbar_store::embedded::Embedded;
use sandbar_store::{Commit, Condition, Effect, Expiry, Remaining, Settlement, Store, connect};
use sandbar_tests::host::{PATIENCE, feed, text};
use sandbar_tests::{RedisServer, TestHost, components, poll_until};
use serde::Deserialize;

const STREAM: &str = "risk-assessment-results";
/// How many alerts of a camera are kept.
const ALERTS_KEPT: usize = 100;
/// How long a camera's latest result is kept, in milliseconds.
const LATEST_MS: u64 = 300_000;
/// Every so-manieth request has a detection to be joined.
const JOINED_EVERY: usize = 7;

#[tokio::test(flavor = "multi_thread")]
async fn real_detections_become_the_results_that_were_computed() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/traffic/detections-30fps.json");
    let Ok(recording) = std::fs::read(&file) else {
        println!("SKIPPED real detections: {} is not there", file.display());
        return;
    };
    let converter = Converter::parse(&recording).unwrap();
    assert_eq!(converter.frames(), 437);
    let entries: Vec<Entry> = converter.entries(&convert::Options { cameras: 20, cut_every: 50 }).collect();
    assert_eq!(entries.len(), 437 * 20);
    on_both(&entries).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_assessments_become_the_results_that_were_computed() {
    let options =
        generate::Options { malformed_share: 0.05, high_risk_share: 0.3, cameras: 10, ..generate::Options::default() };
    let entries: Vec<Entry> = Generator::new(options).take(4_000).collect();
    let most = entries.iter().collect::<Expected>().cameras.values().map(|camera| camera.alerts).max();
    assert!(most > Some(ALERTS_KEPT as u64), "some list of alerts has to be cut");
    on_both(&entries).await;
}

/// What is known of one result: its time, and the request whose detection was joined.
type Told = (String, Option<String>);
/// Results by camera, in the order in which they came.
type Heard = Arc<Mutex<BTreeMap<String, Vec<Told>>>>;

/// What goes in, and what must come out.
struct Plan<'a> {
    entries: &'a [Entry],
    expected: Expected,
    /// Requests that have a detection.
    joined: BTreeSet<String>,
    results: BTreeMap<String, Vec<Told>>,
    alerts: BTreeMap<String, Vec<Told>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Assessment {
    request_id: String,
    timestamp: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Published {
    camera_id: String,
    timestamp: String,
    detected_objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    joined: Option<String>,
}

impl<'a> Plan<'a> {
    fn new(entries: &'a [Entry]) -> Self {
        let (mut joined, mut results, mut alerts) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        let parts = entries.iter().filter_map(|entry| match &entry.fate {
            Fate::Result { camera, is_alert } => Some((camera, *is_alert, &entry.field.1)),
            Fate::DeadLetter { .. } => None,
        });
        for (number, (camera, is_alert, data)) in parts.enumerate() {
            let Assessment { request_id, timestamp } = serde_json::from_str(data).unwrap();
            let told = (timestamp, (number % JOINED_EVERY == 0).then_some(request_id));
            joined.extend(told.1.clone());
            if is_alert {
                alerts.entry(camera.clone()).or_insert_with(Vec::new).push(told.clone());
            }
            results.entry(camera.clone()).or_insert_with(Vec::new).push(told);
        }
        Self { entries, expected: entries.iter().collect(), joined, results, alerts }
    }
}

async fn on_both(entries: &[Entry]) {
    let plan = Plan::new(entries);
    let Expected { results, alerts, dead_letters, .. } = plan.expected;
    println!("{results} results, {alerts} alerts, {dead_letters} dead letters");
    let channels: Vec<String> = plan.results.keys().map(|camera| format!("camera:{camera}")).collect();

    let embedded = Arc::new(Embedded::new());
    let heard = Heard::default();
    for channel in &channels {
        let (mut listener, heard) = (embedded.subscribe(channel), heard.clone());
        tokio::spawn(async move {
            while let Ok(message) = listener.recv().await {
                hear(&heard, &message);
            }
        });
    }
    run(embedded, &plan, &heard).await;

    let server = RedisServer::start();
    let heard = subscribe(&server, &channels);
    let config = StoreConfig { url: server.url(), ..StoreConfig::default() };
    run(connect(&config).await.unwrap(), &plan, &heard).await;
}

/// Subscribes on a thread of its own, which ends with the server.
fn subscribe(server: &RedisServer, channels: &[String]) -> Heard {
    let mut connection = server.connect();
    let heard = Heard::default();
    let (told, channels) = (heard.clone(), channels.to_vec());
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut subscription = connection.as_pubsub();
        subscription.subscribe(&channels).unwrap();
        ready.send(()).unwrap();
        while let Ok(message) = subscription.get_message() {
            hear(&told, message.get_payload_bytes());
        }
    });
    is_ready.recv().unwrap();
    heard
}

fn hear(heard: &Heard, message: &[u8]) {
    let (camera, told) = read(message);
    heard.lock().unwrap().entry(camera).or_default().push(told);
}

/// The camera of a result, and what is announced of it.
fn read(result: &[u8]) -> (String, Told) {
    let Published { camera_id, timestamp, detected_objects } = serde_json::from_slice(result).unwrap();
    (camera_id, (timestamp, detected_objects.into_iter().next().and_then(|object| object.joined)))
}

async fn run(store: Arc<dyn Store>, plan: &Plan<'_>, heard: &Heard) {
    let Plan { entries, expected, joined, results, alerts } = plan;
    put_detections(&*store, joined).await;
    for entries in entries.chunks(200) {
        let events: Vec<[(&str, &str); 1]> = entries.iter().map(|entry| [(entry.field.0, &*entry.field.1)]).collect();
        let events: Vec<&[(&str, &str)]> = events.iter().map(|event| &event[..]).collect();
        feed(&*store, STREAM, &events).await;
    }
    let manifest = include_str!("../../plugins/result-aggregator/plugin.toml");
    let from_the_beginning = manifest.replace("start = \"$\"", "start = \"0\"");
    assert_ne!(from_the_beginning, manifest);
    let test = TestHost::on(store, components::RESULT_AGGREGATOR, &from_the_beginning).await.reading(STREAM);
    test.settled(entries.len() as u64).await;
    let numbers = test.host.plugins()[0].metrics.snapshot();
    assert_eq!((numbers.done, numbers.dead, numbers.retries), (expected.results, expected.dead_letters, 0));

    let all = |results: &BTreeMap<String, Vec<Told>>| results.values().map(Vec::len).sum::<usize>() as u64;
    assert_eq!(all(results), expected.results);
    poll_until(PATIENCE, "the subscriber hears all", async || all(&heard.lock().unwrap()) >= expected.results).await;
    assert!(*results == *heard.lock().unwrap(), "the subscriber hears each result once, in the order of the stream");

    for (camera, results) in results {
        let key = format!("camera:{camera}:latest");
        let latest = read(&test.store.get(&key).await.unwrap().unwrap());
        assert_eq!(Some(&latest.1), results.last(), "{key}");
        let Remaining::Ms(left) = test.store.ttl(&key).await.unwrap() else { panic!("{key} does not expire") };
        assert!(left > 0 && left <= LATEST_MS, "{key} has {left} ms left");
        let list = test.store.list_range(&format!("alerts:{camera}"), 0, -1).await.unwrap();
        let list: Vec<Told> = list.iter().map(|alert| read(alert).1).collect();
        let newest = alerts.get(camera).into_iter().flat_map(|alerts| alerts.iter().rev().take(ALERTS_KEPT));
        assert!(list.iter().eq(newest), "alerts:{camera} are the newest, the newest first");
        assert_eq!(list.len() as u64, expected.cameras[camera].alerts.min(ALERTS_KEPT as u64));
    }
    let reasons = entries.iter().filter_map(|entry| match entry.fate {
        Fate::DeadLetter { reason } => Some((reason, &entry.field.1)),
        Fate::Result { .. } => None,
    });
    let dead_letters = test.dead().await;
    assert_eq!(dead_letters.len() as u64, expected.dead_letters);
    for (dead_letter, (reason, data)) in dead_letters.iter().zip(reasons) {
        let found = text(dead_letter, "reason");
        assert!(found.starts_with(reason), "`{found}` should begin with `{reason}`");
        assert!(
            dead_letter.fields.iter().any(|field| field.value == data.as_bytes()),
            "the event is in its dead letter"
        );
    }
}

/// Stores what a detector has seen for these requests.
async fn put_detections(store: &dyn Store, requests: &BTreeSet<String>) {
    let detection = |id: &String| Effect::Set {
        key: format!("detection:{id}"),
        value: format!(r#"{{"detectedObjects":[{{"joined":"{id}"}}]}}"#).into(),
        expiry: Expiry::Never,
        condition: Condition::Always,
    };
    let effects: Vec<Effect> = requests.iter().map(detection).collect();
    let settlement = Settlement::default();
    store
        .commit(Commit { consumer: None, watched: &[], effects: &effects, settlement, leases: &[], atomic: true })
        .await
        .unwrap();
}
