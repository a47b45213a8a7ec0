//! Plugins: deployed, looked at, taken back and removed over HTTP.

use sandbar_core::config::StoreConfig;
use sandbar_core::token::Role;
use sandbar_store::connect;
use sandbar_tests::{RedisServer, components};

use super::site::{Site, TENANTS};

fn manifest(mark: &str) -> String {
    sandbar_tests::open_manifest("", &format!("[config]\nmark = \"{mark}\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_lives_over_http() {
    let site = Site::start().await;
    life(&site).await;
    let server = RedisServer::start();
    let store = connect(&StoreConfig { url: server.url(), ..StoreConfig::default() }).await.unwrap();
    life(&Site::with(TENANTS, store).await).await;
}

async fn life(site: &Site) {
    let (read, operate, deploy) = (
        site.key("acme", Role::Read).await,
        site.key("acme", Role::Operate).await,
        site.key("acme", Role::Deploy).await,
    );
    let other = site.key("other", Role::Deploy).await;
    let component = std::fs::read(components::HANDLE_MARK).unwrap();
    let first = site.deploy("", &deploy, &manifest("1"), &component).await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!((&first.json()["outcome"], &first.json()["number"]), (&"active".into(), &1.into()));
    let again = site.deploy("", &deploy, &manifest("1"), &component).await;
    assert_eq!(again.json()["outcome"], "unchanged");
    assert_eq!(site.deploy("?wait=20s", &deploy, &manifest("2"), &component).await.json()["number"], 2);
    let shown = site.get("/plugins/guest", &read).await.json();
    assert_eq!(shown["active"]["number"], 2, "{shown}");
    assert!(shown["active"]["by"].as_str().unwrap().starts_with("test (token "), "{shown}");
    assert_eq!(shown["history"][0]["why"]["kind"], "replaced");
    assert_eq!(shown["here"]["digest"], shown["active"]["digest"]);
    assert!(shown["manifest"].as_str().unwrap().contains("mark = \"2\""));
    let listed = site.get("/plugins", &read).await.json();
    assert_eq!(listed["plugins"][0]["plugin"], "guest");
    // Another tenant sees nothing, and cannot tell a plugin that is there from one that is not.
    assert_eq!(site.get("/plugins", &other).await.json()["plugins"], serde_json::json!([]));
    let (there, not) = (site.get("/plugins/guest", &other).await, site.get("/plugins/nobody", &other).await);
    assert_eq!((there.status, not.status), (404, 404));
    assert_eq!(there.text.replace("guest", "nobody"), not.text);
    for action in ["rollback", "promote"] {
        let there = site.post(&format!("/plugins/guest/{action}"), &other, "").await;
        let not = site.post(&format!("/plugins/nobody/{action}"), &other, "").await;
        assert_eq!((there.status, there.text.replace("guest", "nobody")), (404, not.text));
    }
    let back = site.post("/plugins/guest/rollback", &operate, "{\"reason\": \"too loud\"}").await;
    assert_eq!(back.json()["active"]["number"], 1, "{back:?}");
    let shown = site.get("/plugins/guest", &read).await.json();
    assert_eq!(
        (&shown["history"][0]["why"]["kind"], &shown["history"][0]["why"]["reason"]),
        (&"rolled-back".into(), &"too loud".into())
    );
    assert_eq!(site.post("/plugins/guest/promote", &deploy, "").await.status, 409, "nothing is tried");
    let tried = site.deploy("?shadow=true", &deploy, &manifest("3"), &component).await;
    assert_eq!(tried.json()["outcome"], "trial", "{tried:?}");
    let ended = site.ask("DELETE", "/plugins/guest/trial", Some(&operate), "").await;
    assert_eq!((ended.status, ended.json()["candidate"].is_null()), (200, true), "{ended:?}");
    let removed = site.ask("DELETE", "/plugins/guest", Some(&deploy), "").await;
    assert_eq!((removed.status, removed.json()["active"].is_null()), (200, true), "{removed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_deployed_is_refused() {
    let site = Site::start().await;
    let deploy = site.key("acme", Role::Deploy).await;
    let component = std::fs::read(components::HANDLE_MARK).unwrap();
    let wrong = site.deploy("", &deploy, "name = 1", &component).await;
    assert_eq!((wrong.status, wrong.error().contains("the manifest is refused")), (400, true), "{wrong:?}");
    let garbage = site.deploy("", &deploy, &manifest("1"), b"no component").await;
    assert_eq!((garbage.status, garbage.error().contains("no WebAssembly component")), (422, true), "{garbage:?}");
    let large = format!("# {}\n{}", "x".repeat(65536), manifest("1"));
    assert_eq!(site.deploy("", &deploy, &large, &component).await.status, 413);
    for query in ["?canary=0", "?canary=100", "?shadow=true&canary=5", "?wait=x", "?wait=1h", "?shadow=maybe"] {
        assert_eq!(site.deploy(query, &deploy, &manifest("1"), &component).await.status, 400, "{query}");
    }
    let no_form = site.post("/plugins", &deploy, "{}").await;
    assert_eq!((no_form.status, no_form.text.contains("curl -F")), (415, true), "{no_form:?}");
    let kind = "multipart/form-data; boundary=frontier";
    for body in [
        "",
        "--frontier--\r\n",
        "--frontier\r\ncontent-disposition: form-data; name=\"x\"\r\n\r\n\r\n--frontier--\r\n",
        "--frontier\r\n",
    ] {
        let answer = site.send("POST", "/plugins", Some(&deploy), kind, body.as_bytes()).await;
        assert!((400..500).contains(&answer.status), "{body}: {answer:?}");
    }
    // A secret that the tenant does not grant: the host names it, and refuses.
    let secret = sandbar_tests::open_manifest("", "[config]\nmark = { env = \"HOME\" }");
    let denied = site.deploy("", &deploy, &secret, &component).await;
    assert_eq!(
        (denied.status, denied.error().contains("the variable `HOME`, which the tenant `acme` does not grant")),
        (422, true),
        "{denied:?}"
    );
    assert!(!denied.text.contains(&std::env::var("HOME").unwrap_or("no home".to_owned())), "{denied:?}");
}
