//! `sandbar token`, and what the host says about those who come without one.

use std::time::{Duration, Instant};

use sandbar_tests::program::{Folder, Running, request};
use sandbar_tests::{RedisServer, poll_until_blocking};

use super::{folder, objects};

const LIMIT: Duration = Duration::from_secs(60);

fn setup() -> (RedisServer, Folder) {
    let (server, folder) = (RedisServer::start(), folder());
    folder.write("sandbar.toml", format!("[http]\nlisten = \"127.0.0.1:0\"\n[store]\nurl = \"{}\"\n", server.url()));
    (server, folder)
}

fn address(running: &mut Running) -> String {
    running.until("the host says where it answers", |_, err| {
        let started = objects(err).into_iter().find(|line| line["message"] == "started")?;
        Some(started["address"].as_str()?.to_owned())
    })
}

fn whoami(address: &str, token: &str) -> u16 {
    let head = format!("authorization: Bearer {token}\r\n");
    request(address, "GET", "/api/v1/whoami", &head).map_or(0, |(status, _)| status)
}

#[test]
fn a_token_is_made_listed_rotated_and_revoked() {
    let (server, folder) = setup();
    let made = folder.run(&["token", "create", "ci", "--role", "deploy", "--expires-in", "90days"]);
    assert_eq!(made.code, 0, "{made:?}");
    let token = made.out.trim();
    let id = token.split('_').nth(1).unwrap();
    assert!(made.err.contains("not shown again"), "{}", made.err);
    let listed = folder.run(&["token", "list", "--json"]);
    let [told] = &objects(&listed.out)[..] else { panic!("one token: {}", listed.out) };
    assert_eq!(
        (told["id"].as_str(), told["role"].as_str(), told["tenant"].as_str()),
        (Some(id), Some("deploy"), Some("default"))
    );
    let kept: String = server.get(&["GET", &format!("sandbar:fleet:token:{id}")]);
    let secret = token.rsplit('_').next().unwrap();
    assert!(!kept.contains(secret) && !listed.out.contains(secret), "only the hash is kept");
    let rotated = folder.run(&["token", "rotate", id, "--json"]);
    assert_ne!(objects(&rotated.out)[0]["token"], token);
    assert_eq!(folder.run(&["token", "revoke", id]).code, 0);
    let gone = folder.run(&["token", "revoke", id]);
    assert_eq!((gone.code, gone.err.contains("sandbar token list")), (1, true), "{gone:?}");
    assert_eq!(folder.run(&["token", "revoke", "x"]).code, 2);
    assert_eq!(folder.run(&["token", "create", "", "--role", "read"]).code, 2);
}

#[test]
fn tokens_work_without_a_restart_and_refusals_are_logged() {
    let (_server, folder) = setup();
    let create = |arguments: &[&str]| {
        let made = folder.run(&[&["token", "create", "ops", "--role", "read"], arguments].concat());
        assert_eq!(made.code, 0, "{made:?}");
        made.out.trim().to_owned()
    };
    // One in the configuration, which needs no store; its hash stands in a file.
    let configured = create(&["--for-config", "--all-tenants", "--json"]);
    let configured = &objects(&configured)[0];
    let section = configured["config"].as_str().unwrap();
    let (section, hash) = section.split_once("hash = ").unwrap();
    folder.write("secrets/hash", format!("{}\n", hash.trim_matches('"')));
    let text = std::fs::read_to_string(folder.path().join("sandbar.toml")).unwrap();
    folder.write("sandbar.toml", format!("{text}\n{section}hash = {{ file = \"secrets/hash\" }}\n"));

    // All lines are logged, also repeated ones.
    let mut running = folder.start(&["run", "--log-format", "json", "-v"]);
    let address = address(&mut running);
    assert_eq!(request(&address, "GET", "/api/v1/whoami", "").unwrap().0, 401);
    assert_eq!(whoami(&address, configured["token"].as_str().unwrap()), 200);
    let token = create(&[]);
    assert_eq!(whoami(&address, &token), 200, "a token that was made while the host runs");
    let id = token.split('_').nth(1).unwrap();
    assert_eq!(folder.run(&["token", "revoke", id]).code, 0);
    let begun = Instant::now();
    poll_until_blocking(LIMIT, "the token is refused", || whoami(&address, &token) == 401);
    println!("a revoked token was refused after {:?}", begun.elapsed());

    let refused = running.until("the refusal is logged", |_, err| {
        objects(err).into_iter().find(|line| line["reason"] == "unknown" && line["token"] == id)
    });
    assert_eq!(
        (refused["path"].as_str(), refused["client"].as_str()),
        (Some("/api/v1/whoami"), Some("127.0.0.1")),
        "{refused}"
    );
    (0..50).for_each(|_| assert_eq!(whoami(&address, "nonsense"), 401));
    let metrics = request(&address, "GET", "/metrics", "").unwrap().1;
    assert!(metrics.contains("sandbar_api_refused_total{reason=\"malformed\"} 50"), "{metrics}");
    let finished = running.terminate();
    let logged = objects(&finished.err).iter().filter(|line| line["reason"].is_string()).count();
    assert!(logged <= 20, "a client that is refused over and over is not logged each time: {logged}");
    for token in [&token, configured["token"].as_str().unwrap()] {
        let secret = token.rsplit('_').next().unwrap();
        assert!(!finished.err.contains(secret) && !finished.out.contains(secret), "no token is logged");
    }
}
