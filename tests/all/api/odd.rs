//! Requests that nobody would send: none makes a handler panic, and all are answered.

use sandbar_core::token::Role;
use sandbar_server::api::routes;

use super::site::Site;

/// Paths, queries and bodies that are odd, in every combination with the routes.
#[tokio::test(flavor = "multi_thread")]
async fn odd_requests_are_answered() {
    let site = Site::start().await;
    let key = site.key("*", Role::Deploy).await;
    let names = ["%00", "%FF%FE", "..", "%2e%2e%2f", "*", "a%0d%0ab", "%E2%80%AE", "sandbar:", &"x".repeat(2000)];
    let queries = [
        "?tenant=acme",
        "?tenant=",
        "?tenant=%00",
        "?tenant=acme&tenant=other",
        "?tenant=acme&limit=-1&before=&stream=s",
    ];
    let bodies =
        ["", "{}", "[]", "null", "\u{feff}{}", "{\"ids\": [null]}", "{\"stream\": \"\\u0000\", \"all\": true}"];
    for route in routes() {
        for name in names {
            let path = route.path.replace("{name}", name).replace("{id}", name).replace("{key}", name);
            for (query, body) in queries.iter().zip(bodies.iter().cycle()) {
                let answer = site.ask(&route.method, &format!("{path}{query}"), Some(&key), body).await;
                assert_ne!(answer.status, 500, "{} {path}{query} {body}: {answer:?}", route.method);
            }
            if path == route.path {
                break;
            }
        }
    }
    for body in bodies.into_iter().chain(["[".repeat(50_000).as_str()]) {
        for path in ["/dead/retry?tenant=acme", "/dead/drop?tenant=acme", "/plugins/a/rollback?tenant=acme"] {
            let answer = site.post(path, &key, body).await;
            assert_ne!(answer.status, 500, "{path}: {answer:?}");
        }
    }
    let large = format!("{{\"reason\": \"{}\"}}", "x".repeat(100_000));
    assert_eq!(site.post("/plugins/a/rollback?tenant=acme", &key, &large).await.status, 413);
    assert_eq!(site.get("/whoami", &key).await.status, 200, "it still answers");
}
