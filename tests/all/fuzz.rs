//! Components and malformed requests: all are refused or answered, and nothing panics or hangs.
//!
//! Few cases with a fixed seed; a million of each with `SANDBAR_LONG=1`, another seed with `SANDBAR_SEED`. What fails
//! is kept in `proptest-regressions/`. `host/core/tests/fuzz.rs` has those of texts, `fuzz/records.rs` those of
//! records.

mod records;

use std::env;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::Request;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use sandbar_core::config::EngineConfig;
use sandbar_core::manifest::Manifest;
use sandbar_core::token::Role;
use sandbar_runtime::engine::Engine;
use sandbar_runtime::plugin::{inspect, load};
use sandbar_server::api::{Api, routes};
use sandbar_store::embedded::Embedded;
use sandbar_tests::components;
use tower::ServiceExt;

use crate::api::site::{Site, TENANTS};

const CASES: u32 = 1_000;
const CASES_LONG: u32 = 1_000_000;

fn runner(name: &str) -> (TestRunner, impl FnOnce()) {
    let cases = if env::var_os("SANDBAR_LONG").is_some() { CASES_LONG } else { CASES };
    let seed = env::var("SANDBAR_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let config = Config { cases, rng_seed: RngSeed::Fixed(seed), source_file: Some(file!()), ..Config::default() };
    let (name, begun) = (name.to_owned(), Instant::now());
    (TestRunner::new(config), move || println!("{name}: {cases} cases with seed {seed} in {:?}", begun.elapsed()))
}

/// Some bytes changed: flipped, cut out, put in, or the end cut off.
fn changed(bases: Vec<Vec<u8>>, edits: usize) -> impl Strategy<Value = Vec<u8>> {
    let edit = (0..4u8, any::<usize>(), prop::collection::vec(any::<u8>(), 1..5));
    (proptest::sample::select(bases), prop::collection::vec(edit, 1..=edits)).prop_map(|(mut bytes, edits)| {
        for (kind, at, with) in edits {
            let at = at % bytes.len().max(1);
            let end = (at + with.len()).min(bytes.len());
            let at = at.min(end);
            match kind {
                0 => bytes[at..end].iter_mut().zip(&with).for_each(|(byte, with)| *byte ^= with),
                1 => drop(bytes.splice(at..at, with)),
                2 => drop(bytes.drain(at..end)),
                _ => bytes[at..end].iter_mut().zip(&with).for_each(|(byte, with)| *byte = *with),
            }
        }
        bytes
    })
}

/// A small component in the text format, and a guest.
fn bases() -> Vec<Vec<u8>> {
    let text = r#"(component
        (core module $m (memory (export "memory") 1) (table 4 funcref) (global (mut i32) (i32.const 0))
            (func (export "f") (param i32) (result i32) (local i64) (block (loop (br_if 1 (local.get 0)))) (i32.load (local.get 0)))
            (data (i32.const 0) "data") (func $g) (elem (i32.const 0) $g))
        (core instance $i (instantiate $m))
        (type $record (record (field "a" u32) (field "b" string) (field "c" (list u8))))
        (func (export "f") (param "x" u32) (result u32) (canon lift (core func $i "f")))
        (export "sandbar:plugin/handler@0.1.0" (instance (instantiate (component)))))"#;
    let text =
        wat::parse_str(text).or_else(|_| wat::parse_str("(component (core module (func (export \"f\"))))")).unwrap();
    vec![text]
}

#[test]
fn components_are_loaded_or_refused() {
    let config = EngineConfig { instances: 1, ..EngineConfig::default() };
    let engine = Engine::new(&config, None).unwrap();
    let manifest = Manifest::parse(&sandbar_tests::open_manifest("", "")).unwrap();
    let (mut runner, report) = runner("components");
    let ended = runner.run(&changed(bases(), 4), |bytes| {
        let inspected = inspect(&engine, &bytes);
        if inspected.is_ok() {
            let _ = load(&engine, &bytes, &manifest);
        }
        Ok(())
    });
    ended.unwrap();
    report();
}

/// Few cases: each that is valid is compiled, which takes a second.
#[test]
fn guests_are_loaded_or_refused() {
    let config = EngineConfig { instances: 1, ..EngineConfig::default() };
    let engine = Engine::new(&config, None).unwrap();
    let guest = std::fs::read(components::HANDLE_NOTHING).unwrap();
    let cases = if env::var_os("SANDBAR_LONG").is_some() { 5_000 } else { 30 };
    let config = Config { cases, rng_seed: RngSeed::Fixed(1), source_file: Some(file!()), ..Config::default() };
    let ended = TestRunner::new(config).run(&changed(vec![guest], 3), |bytes| {
        let _ = inspect(&engine, &bytes);
        Ok(())
    });
    ended.unwrap();
    println!("guests: {cases} cases");
}

/// A request: a route with something for its parameters, a query and a body.
fn requests(routes: usize) -> impl Strategy<Value = (usize, String, String, String, Vec<u8>)> {
    let name = prop_oneof![
        "[a-z0-9-]{1,8}",
        "(%[0-9A-F]{2}){1,6}",
        "[!-~&&[^#?/{}<>\"`|\\\\^%\\[\\]]]{1,20}",
        "[0-9]{1,20}-[0-9]{1,20}"
    ];
    let word = "(tenant|stream|queue|before|limit|match|plugin|runs|shadow|canary|wait|x)=(acme|s|\\*|[0-9]{1,21}|-1|%00|%F0%9F%92%A9|true|5s|1h|[0-9]{1,20}-[0-9]{1,20})?";
    let query = prop::collection::vec(word, 0..4).prop_map(|words| words.join("&"));
    let json = vec![
        br#"{"stream":"s","ids":["1-0","2-0"]}"#.to_vec(),
        br#"{"queue":"q","all":true}"#.to_vec(),
        br#"{"to":"abcd","reason":"because"}"#.to_vec(),
        b"--b\r\ncontent-disposition: form-data; name=\"manifest\"\r\n\r\nname = \"a\"\r\n--b\r\ncontent-disposition: form-data; name=\"component\"\r\n\r\nx\r\n--b".to_vec(),
    ];
    let kind = prop_oneof![3 => Just("application/json".to_owned()), 2 => Just("multipart/form-data; boundary=b".to_owned()), 1 => "[ -~]{0,20}"];
    (0..routes, name, query, kind, changed(json, 3))
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered() {
    let site = Site::with(TENANTS, Arc::new(Embedded::new())).await;
    let key = site.key("*", Role::Deploy).await;
    let router = Api::new(site.hosting.clone()).router();
    let (mut runner, report) = runner("requests");
    let runtime = tokio::runtime::Handle::current();
    let all = routes();
    let run = move || {
        runner
            .run(&requests(all.len()), |(route, name, query, kind, body)| {
                let route = &all[route];
                let path = ["{name}", "{id}", "{key}"]
                    .iter()
                    .fold(route.path.to_owned(), |path, part| path.replace(part, &name));
                let request = Request::builder()
                    .method(route.method.as_str())
                    .uri(format!("/api/v1{path}?tenant=acme&{query}"))
                    .header("authorization", &key)
                    .header("content-type", kind)
                    .header("content-length", body.len())
                    .body(Body::from(body));
                let Ok(request) = request else { return Ok(()) };
                let answer = runtime.block_on(router.clone().oneshot(request)).unwrap();
                prop_assert!(answer.status() != 500 && answer.status() != 401, "{path}?{query}: {}", answer.status());
                Ok(())
            })
            .unwrap();
    };
    tokio::task::spawn_blocking(run).await.unwrap();
    report();
}
