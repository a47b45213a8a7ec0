//! `sandbar locks`.

use std::time::{SystemTime, UNIX_EPOCH};

use redis::Value;
use sandbar_tests::RedisServer;
use sandbar_tests::program::Folder;

use super::{folder, objects};

/// A folder whose tenant has a prefix, and a server with a lock of a plugin and one of a plain client.
fn setup() -> (RedisServer, Folder) {
    let (server, folder) = (RedisServer::start(), folder());
    folder.write("sandbar.toml", format!("[tenant]\nprefix = \"t:\"\n[store]\nurl = \"{}\"\n", server.url()));
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() - 90_000;
    server.ask(&["SET", "t:lock:a", &format!("7:0f3a:visits:{since}:00ff"), "PX", "60000"]);
    server.ask(&["SET", "t:sandbar:lock:lock:a:token", "7"]);
    server.ask(&["SET", "t:sandbar:lock:lock:free:token", "6"]);
    server.ask(&["RPUSH", "t:sandbar:lock:lock:a:waiters", "gone:1000:h:p:1", "gone:1000:h:p:2"]);
    server.ask(&["SET", "t:lock:b", "a uuid"]);
    server.ask(&["LPUSH", "t:lock:list", "no lock"]);
    (server, folder)
}

#[test]
fn locks_are_listed_with_holder_age_and_remaining_time() {
    let (_server, folder) = setup();
    let listed = folder.run(&["locks", "list", "--json"]);
    assert_eq!(listed.code, 0, "{}", listed.err);
    let [lock] = &objects(&listed.out)[..] else { panic!("one lock: {}", listed.out) };
    assert_eq!(
        (&lock["key"], &lock["host"], &lock["plugin"], &lock["token"]),
        (&"lock:a".into(), &"0f3a".into(), &"visits".into(), &7.into())
    );
    assert_eq!(lock["waiters"], 2);
    assert!((90_000..150_000).contains(&lock["age_ms"].as_u64().unwrap()));
    assert!((10_000..=60_000).contains(&lock["remaining_ms"].as_u64().unwrap()));
    let all = folder.run(&["locks", "list", "--match", "lock:*"]);
    let lines: Vec<&str> = all.out.lines().collect();
    assert!(
        lines[0].starts_with("lock:a  visits on 0f3a for 1m 3") && lines[0].ends_with("left, 2 wait"),
        "{}",
        all.out
    );
    assert_eq!(lines[1..], ["lock:b  another client, `a uuid`, it does not expire"]);
}

#[test]
fn a_lock_can_be_broken() {
    let (server, folder) = setup();
    let broken = folder.run(&["locks", "break", "lock:a"]);
    assert_eq!(broken.code, 0, "{}", broken.err);
    assert!(broken.out.starts_with("broken: lock:a  visits on 0f3a"), "{}", broken.out);
    assert_eq!(server.ask(&["GET", "t:lock:a"]), Value::Nil, "those who waited are gone");
    let again = folder.run(&["locks", "break", "lock:a"]);
    assert_eq!(again.code, 1);
    insta::assert_snapshot!(again.err, @r"
    error: nobody holds the lock `t:lock:a`; nothing was done
    help: sandbar locks list
    ");
    let foreign = folder.run(&["locks", "break", "lock:b", "--json"]);
    assert_eq!(objects(&foreign.out)[0]["broken"]["value"], "a uuid");
    let no_lock = folder.run(&["locks", "break", "lock:list"]);
    assert_eq!(no_lock.code, 1, "{}", no_lock.err);
    assert_eq!(server.ask(&["LLEN", "t:lock:list"]), Value::Int(1));
    let none = folder.run(&["locks", "list"]);
    assert_eq!((none.out.as_str(), none.err.as_str()), ("", "no locks are held\n"));
}
