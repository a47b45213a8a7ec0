//! Dead letters, queues, locks, schedules and hosts.

use bytes::Bytes;
use sandbar_core::config::StoreConfig;
use sandbar_core::token::Role;
use sandbar_store::{Commit, Condition, Effect, Expiry, Field, JobQueue, PushOptions, Retention, Store, connect};
use sandbar_tests::RedisServer;

use super::site::{Site, TENANTS};

async fn commit(store: &dyn Store, effect: Effect) {
    assert!(store.commit(Commit::plain(&[effect], &[])).await.unwrap().refused.is_empty());
}

async fn die(store: &dyn Store, stream: &str, number: u64) {
    let fields = [("reason", "bad"), ("attempt", "3"), ("plugin", "p"), ("time", "1795000000000")];
    let mut fields: Vec<Field> = fields.iter().map(|(name, value)| Field::new(*name, *value)).collect();
    fields.push(Field::new("field:n", number.to_string()));
    commit(store, Effect::Append { stream: format!("{stream}:dead"), fields, retention: Retention::Unlimited }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_shown_sent_back_and_dropped() {
    let site = Site::start().await;
    let (read, operate) = (site.key("acme", Role::Read).await, site.key("acme", Role::Operate).await);
    for number in 0..5 {
        die(&*site.store, "acme:s", number).await;
    }
    die(&*site.store, "other:s", 9).await;
    let first = site.get("/dead?stream=s&limit=3", &read).await.json();
    assert_eq!(first["letters"].as_array().unwrap().len(), 3);
    assert_eq!(first["letters"][0]["fields"]["n"], "4", "the newest first");
    let next = first["next"].as_str().unwrap();
    let rest = site.get(&format!("/dead?stream=s&before={next}"), &read).await.json();
    assert_eq!(rest["letters"].as_array().unwrap().len(), 2);
    assert!(rest["next"].is_null());
    let id = first["letters"][0]["dead_id"].as_str().unwrap();
    let shown = site.get(&format!("/dead/{id}?stream=s"), &read).await.json();
    assert_eq!(shown["reason"], "bad");
    let body = format!("{{\"stream\": \"s\", \"ids\": [\"{id}\"]}}");
    assert_eq!(site.post("/dead/retry", &operate, &body).await.json()["letters"], 1);
    assert_eq!(site.post("/dead/retry", &operate, &body).await.status, 404);
    assert_eq!(site.store.length("acme:s").await.unwrap(), 1);
    let all = "{\"stream\": \"s\", \"all\": true}";
    assert_eq!(site.post("/dead/drop", &operate, all).await.json()["letters"], 4);
    assert_eq!(site.store.length("acme:s:dead").await.unwrap(), 0);
    assert_eq!(site.store.length("other:s:dead").await.unwrap(), 1, "another tenant's dead letters stay");
    for wrong in
        ["{}", "{\"stream\": \"s\"}", "{\"stream\": \"s\", \"queue\": \"q\", \"all\": true}", "[", "{\"x\": 1}"]
    {
        assert_eq!(site.post("/dead/drop", &operate, wrong).await.status, 400, "{wrong}");
    }
    for wrong in
        ["/dead", "/dead?stream=s&limit=0", "/dead?stream=s&limit=x", "/dead?stream=s&before=x", "/dead?stream="]
    {
        assert_eq!(site.get(wrong, &read).await.status, 400, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_are_counted_paused_and_go_on() {
    // The embedded store keeps no key beside a queue by which it would be found.
    let server = RedisServer::start();
    let store = connect(&StoreConfig { url: server.url(), ..StoreConfig::default() }).await.unwrap();
    let site = Site::with(TENANTS, store).await;
    let (read, operate) = (site.key("acme", Role::Read).await, site.key("acme", Role::Operate).await);
    let queue = std::sync::Arc::new(JobQueue::new("acme:", "mail/now"));
    let payloads = vec![Bytes::from("a"), Bytes::from("b")];
    commit(&*site.store, Effect::Push { queue, payloads, options: PushOptions::default() }).await;
    let state = site.get("/queues/mail%2Fnow", &read).await.json();
    assert_eq!((&state["queue"], &state["ready"], &state["paused"]), (&"mail/now".into(), &2.into(), &false.into()));
    assert_eq!(site.post("/queues/mail%2Fnow/pause", &operate, "").await.json()["changed"], true);
    let listed = site.get("/queues", &read).await.json();
    assert_eq!(listed["queues"][0]["paused"], true, "{listed}");
    assert_eq!(site.get("/queues", &site.key("other", Role::Read).await).await.json()["queues"], serde_json::json!([]));
    assert_eq!(site.post("/queues/mail%2Fnow/resume", &operate, "").await.json()["paused"], false);
    assert_eq!(site.get("/queues/%00", &read).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_are_listed_and_broken() {
    let site = Site::start().await;
    let (read, operate) = (site.key("acme", Role::Read).await, site.key("acme", Role::Operate).await);
    for key in ["acme:lock:a", "other:lock:b"] {
        let (key, value) = (key.to_owned(), Bytes::from("a uuid"));
        commit(&*site.store, Effect::Set { key, value, expiry: Expiry::TtlMs(60_000), condition: Condition::Always })
            .await;
    }
    let listed = site.get("/locks?match=lock:*", &read).await.json();
    assert_eq!(listed["locks"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed["locks"][0]["key"], "lock:a");
    assert_eq!(site.post("/locks/lock:a/break", &operate, "").await.json()["value"], "a uuid");
    assert_eq!(site.post("/locks/lock:a/break", &operate, "").await.status, 404);
    assert_eq!(site.post("/locks/lock:b/break", &operate, "").await.status, 404, "another tenant's is not there");
}

/// Below an empty prefix lie the hosts' own keys too.
#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_own_keys_are_nobodys() {
    let site = Site::with("", std::sync::Arc::new(sandbar_store::embedded::Embedded::new())).await;
    let victim = site.token("default", Role::Read).await;
    let operate = site.key("default", Role::Operate).await;
    let key = format!("sandbar:fleet:token:{}", victim.id);
    let listed = site.get("/locks?match=*", &operate).await.json();
    assert_eq!(listed["locks"], serde_json::json!([]), "{listed}");
    assert_eq!(site.post(&format!("/locks/{key}/break"), &operate, "").await.status, 400);
    assert_eq!(site.post("/queues/sandbar:x/pause", &operate, "").await.status, 400);
    let body = "{\"stream\": \"sandbar:x\", \"all\": true}";
    assert_eq!(site.post("/dead/drop", &operate, body).await.status, 400);
    assert!(site.store.get(&key).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_and_the_document_are_told() {
    let site = Site::start().await;
    let (own, all) = (site.key("acme", Role::Read).await, site.key("*", Role::Read).await);
    let nodes = site.get("/nodes", &all).await.json();
    assert_eq!(nodes["nodes"][0]["alive"], true, "{nodes}");
    assert!(nodes["nodes"][0]["pid"].is_u64());
    let nodes = site.get("/nodes", &own).await.json();
    assert!(nodes["nodes"][0]["pid"].is_null() && nodes["nodes"][0]["faults"].is_null(), "{nodes}");
    let document = site.get("/openapi.json", &own).await.json();
    assert!(document["paths"]["/api/v1/plugins"]["post"].is_object());
    assert_eq!(site.get("/schedules?runs=101", &own).await.status, 400);
    let trigger = "name = \"guest\"\n[[trigger]]\ntype = \"schedule\"\nname = \"yearly\"\nevery = \"365days\"";
    let component = std::fs::read(sandbar_tests::components::TICK_AND_HANDLE).unwrap();
    let deploy = site.key("acme", Role::Deploy).await;
    let deployed = site.deploy("", &deploy, trigger, &component).await;
    assert_eq!(deployed.status, 200, "{deployed:?}");
    let told = site.get("/schedules", &own).await.json();
    assert_eq!(told["schedules"].as_array().unwrap().len(), 1, "{told}");
    let other = site.get("/schedules", &site.key("other", Role::Read).await).await.json();
    assert_eq!(other["schedules"], serde_json::json!([]), "another tenant's are not there");
}
