//! Who is let in: every route, without a token, with a wrong one, another tenant's, or one of too low a role.

use std::time::{Duration, Instant};

use sandbar_core::token::{Minted, Role, Scope};
use sandbar_fleet::authenticator::CACHE_TTL;
use sandbar_server::api::routes;
use sandbar_tests::poll_until;

use super::site::{Site, bearer};

/// A path of a route, with something for its parameters.
fn path(route: &str) -> String {
    route.replace("{name}", "guest").replace("{id}", "1-0").replace("{key}", "k")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_who_may_not() {
    let site = Site::start().await;
    let good = site.token("acme", Role::Deploy).await;
    let revoked = site.token("acme", Role::Deploy).await;
    assert!(site.tokens.revoke(&revoked.id).await.unwrap());
    let expired = site.tokens.create("old", Scope::Host, Role::Deploy, Some(Duration::from_millis(1))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let wrong = Minted::again(good.id.clone());
    let cases: [(&str, Option<String>, &str); 7] = [
        ("no token", None, "a token is needed"),
        ("no bearer", Some("Basic YTpi".to_owned()), "not valid"),
        ("malformed", Some("Bearer sandbar_x_y".to_owned()), "not valid"),
        ("unknown", Some(bearer(&Minted::new())), "not valid"),
        ("wrong", Some(bearer(&wrong)), "not valid"),
        ("revoked", Some(bearer(&revoked)), "not valid"),
        ("expired", Some(bearer(&expired)), "not valid"),
    ];
    let low = [site.key("acme", Role::Read).await, site.key("acme", Role::Operate).await];
    let other = site.key("other", Role::Deploy).await;
    for route in routes() {
        let path = path(&route.path);
        for (what, key, error) in &cases {
            let answer = site.ask(&route.method, &path, key.as_deref(), "").await;
            assert_eq!(answer.status, 401, "{} {path} with {what}: {answer:?}", route.method);
            assert!(answer.error().contains(error), "{what}: {answer:?}");
            assert!(answer.head.contains("www-authenticate: bearer"), "{answer:?}");
        }
        for (key, role) in low.iter().zip([Role::Read, Role::Operate]) {
            let answer = site.ask(&route.method, &path, Some(key), "").await;
            assert_eq!(answer.status == 403, role < route.role, "{} {path} as {role}: {answer:?}", route.method);
        }
        for tenant in ["acme", "no-such-tenant"] {
            let answer = site.ask(&route.method, &format!("{path}?tenant={tenant}"), Some(&other), "").await;
            assert_eq!(answer.status, 403, "{} {path} of {tenant}: {answer:?}", route.method);
            assert_eq!(answer.error(), "the token is for another tenant");
        }
        let let_in = site.ask(&route.method, &path, Some(&bearer(&good)), "").await;
        assert!(![401, 403].contains(&let_in.status), "{} {path}: {let_in:?}", route.method);
    }
    // Also where there is nothing.
    assert_eq!(site.ask("GET", "/nothing", None, "").await.status, 401);
    assert_eq!(site.ask("PUT", "/plugins", None, "").await.status, 401);
    assert_eq!(site.get("/nothing", &bearer(&good)).await.status, 404);
    assert_eq!(site.ask("PUT", "/plugins", Some(&bearer(&good)), "").await.status, 405);
    let metrics = site.exporter.render();
    for reason in ["absent", "malformed", "unknown", "wrong", "expired", "role", "tenant"] {
        let counter = format!("sandbar_api_refused_total{{reason=\"{reason}\"}}");
        assert!(metrics.contains(&counter), "{counter} is missing from\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_token_nobody_is_let_in() {
    let site = Site::start().await;
    for route in routes() {
        let answer = site.ask(&route.method, &path(&route.path), Some(&bearer(&Minted::new())), "").await;
        assert_eq!(answer.status, 401, "{answer:?}");
        assert!(answer.text.contains("sandbar token create"), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rotated_or_revoked_is_refused_soon() {
    let site = Site::start().await;
    let old = site.token("acme", Role::Read).await;
    assert_eq!(site.get("/whoami", &bearer(&old)).await.status, 200);
    let new = site.tokens.rotate(&old.id, Duration::ZERO).await.unwrap();
    let begun = Instant::now();
    poll_until(Duration::from_secs(30), "the old secret is refused", async || {
        site.get("/whoami", &bearer(&old)).await.status == 401
    })
    .await;
    println!("a rotated token was refused after {:?}; at most {CACHE_TTL:?} and a request", begun.elapsed());
    assert_eq!(site.get("/whoami", &bearer(&new)).await.status, 200);
    site.tokens.revoke(&old.id).await.unwrap();
    poll_until(Duration::from_secs(30), "the token is refused", async || {
        site.get("/whoami", &bearer(&new)).await.status == 401
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_says_what_it_is_good_for() {
    let site = Site::start().await;
    let told = site.get("/whoami", &site.key("acme", Role::Operate).await).await;
    assert_eq!(told.json()["tenant"], "acme");
    assert_eq!((&told.json()["role"], told.json()["name"].as_str()), (&"operate".into(), Some("test")));
    assert!(told.head.contains("cache-control: no-store") && told.head.contains("nosniff"), "{told:?}");
    let all = site.key("*", Role::Read).await;
    assert_eq!(site.get("/whoami", &all).await.json()["tenant"], "*");
    let needs = site.get("/queues", &all).await;
    assert_eq!((needs.status, needs.error().contains("all tenants")), (400, true), "{needs:?}");
    assert_eq!(site.get("/queues?tenant=acme", &all).await.status, 200);
    assert_eq!(site.get("/queues?tenant=nobody", &all).await.status, 404);
}

/// Not asserted: machines differ. All refusals take one way, see `token::Authenticator::check`.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_refusal_is_logged() {
    let site = Site::start().await;
    let good = site.token("acme", Role::Read).await;
    let cases = [
        ("unknown", bearer(&Minted::new())),
        ("wrong", bearer(&Minted::again(good.id.clone()))),
        ("malformed", "Bearer x".to_owned()),
    ];
    for (what, key) in cases {
        let mut times = Vec::new();
        for _ in 0..101 {
            let begun = Instant::now();
            assert_eq!(site.get("/whoami", &key).await.status, 401);
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        println!("{what}: median {:?}", times[50]);
    }
}
