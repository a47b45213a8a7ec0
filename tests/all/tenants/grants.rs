//! What a tenant does not grant is refused when a plugin is loaded, by name.

use std::sync::Arc;

use sandbar_core::config::Config;
use sandbar_core::manifest::Manifest;
use sandbar_server::host::Host;
use sandbar_store::embedded::Embedded;
use sandbar_tests::components;

const GRANTS: &str = "write = [\"orders*\"]\nsubscribe = [\"news:*\"]\nroutes = [\"/shop*\"]";

/// What becomes of a plugin with a trigger, under grants of its tenant.
async fn load(grants: &str, component: &str, trigger: &str) -> Result<(), String> {
    let config = Config::parse(&format!("[tenant.grants]\n{grants}")).unwrap();
    let host = Host::start(config, Arc::new(Embedded::new())).await.unwrap();
    let manifest = Manifest::parse(&format!("name = \"guest\"\n{trigger}")).unwrap();
    let loaded = host.load_bytes(manifest, std::fs::read(component).unwrap()).await;
    host.shutdown().await;
    loaded.map_err(|error| error.to_string())
}

fn trigger(kind: &str, key: &str, name: &str) -> String {
    format!("[[trigger]]\ntype = \"{kind}\"\n{key} = \"{name}\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_of_triggers_must_be_granted() {
    for (kind, key, granted, denied, grant) in [
        ("stream", "stream", "orders", "secrets", "`write`"),
        ("queue", "queue", "orders:jobs", "secrets", "`write`"),
        ("channel", "channel", "news:1", "secrets", "`subscribe`"),
        ("channel", "pattern", "news:*", "*", "`subscribe`"),
        ("channel", "sharded", "news:1", "secrets", "`subscribe`"),
        ("http", "route", "/shop/cart", "/admin", "`routes`"),
    ] {
        let component = if kind == "http" { components::HTTP_SERVE } else { components::HANDLE_COUNT };
        assert_eq!(load(GRANTS, component, &trigger(kind, key, granted)).await, Ok(()), "{kind} {key}");
        let refused = load(GRANTS, component, &trigger(kind, key, denied)).await.unwrap_err();
        let named = [kind, &format!("`{denied}`"), grant, "`guest`"].into_iter().all(|word| refused.contains(word));
        assert!(named, "{kind} {key}: {refused}");
    }
    let own = load("", components::HANDLE_COUNT, &trigger("stream", "stream", "sandbar:journal:x")).await;
    assert!(own.unwrap_err().contains("one of the host's own"));
}

#[tokio::test(flavor = "multi_thread")]
async fn primitives_must_be_granted() {
    let all = ["cache", "stream", "queue", "pubsub", "lock", "collections", "http", "schedule", "loader"];
    let without = |name: &str| {
        let rest: Vec<String> = all.iter().filter(|other| **other != name).map(|name| format!("\"{name}\"")).collect();
        format!("primitives = [{}]", rest.join(", "))
    };
    let stream = trigger("stream", "stream", "s");
    for (name, component, trigger) in [
        ("cache", components::HANDLE_COUNT, stream.clone()),
        ("collections", components::HANDLE_COUNT, stream.clone()),
        ("stream", components::HANDLE_COUNT, stream.clone()),
        ("queue", components::HANDLE_COUNT, trigger("queue", "queue", "q")),
        ("queue", components::QUEUE_ALL, stream.clone()),
        ("pubsub", components::HANDLE_COUNT, trigger("channel", "channel", "c")),
        ("lock", components::LOCK_ALL, stream.clone()),
        ("http", components::HTTP_SERVE, trigger("http", "route", "/t")),
        ("http", components::HTTP_SEND, format!("{stream}\n[grants]\nhttp = [\"example.com\"]")),
        ("schedule", components::TICK_AND_HANDLE, format!("{}\nevery = \"1h\"", trigger("schedule", "name", "often"))),
        ("loader", components::LOAD_ONLY, String::new()),
    ] {
        let refused = load(&without(name), component, &trigger).await.unwrap_err();
        assert!(refused.contains("`primitives`") && refused.contains(&format!("`{name}`")), "{name}: {refused}");
    }
    assert_eq!(
        load("primitives = [\"cache\", \"collections\", \"stream\"]", components::HANDLE_COUNT, &stream).await,
        Ok(())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_tenants_that_ask_for_a_route_at_the_same_time_one_gets_it() {
    let tenants = "[[tenant]]\nname = \"a\"\nprefix = \"a:\"\n[[tenant]]\nname = \"b\"\nprefix = \"b:\"";
    let host = Host::start(Config::parse(tenants).unwrap(), Arc::new(Embedded::new())).await.unwrap();
    let manifest = Manifest::parse(&format!("name = \"guest\"\n{}", trigger("http", "route", "/shop"))).unwrap();
    let bytes = std::fs::read(components::HTTP_SERVE).unwrap();
    let load = |tenant: &str| host.tenant(tenant).unwrap().load_bytes(manifest.clone(), bytes.clone());
    let (refused, owner, other) = match tokio::join!(load("a"), load("b")) {
        (Ok(()), Err(error)) => (error.to_string(), "a", "b"),
        (Err(error), Ok(())) => (error.to_string(), "b", "a"),
        both => panic!("one of them: {both:?}"),
    };
    assert!(refused.contains(&format!("`/shop`, which the plugin `guest` of the tenant `{owner}` has")), "{refused}");
    assert!(host.tenant(owner).unwrap().unload("guest").await);
    load(other).await.unwrap();
    host.shutdown().await;
}
