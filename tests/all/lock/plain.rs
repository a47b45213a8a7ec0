//! A plain client, as `redis-py` and others are: `SET key value NX EX`, and a script that compares and deletes.

use std::time::{Duration, Instant};

use redis::{Commands, ExistenceCheck, Script, SetExpiry, SetOptions};
use sandbar_core::config::StoreConfig;
use sandbar_store::held_lock::HeldLock;
use sandbar_store::{Claim, LockKey, connect};
use sandbar_tests::RedisServer;

/// What `redis-py` releases with.
const RELEASE: &str = "
    local token = redis.call('get', KEYS[1])
    if not token or token ~= ARGV[1] then
        return 0
    end
    redis.call('del', KEYS[1])
    return 1
";

struct Plain(redis::Connection);

impl Plain {
    fn try_take(&mut self) -> bool {
        let options = SetOptions::default().conditional_set(ExistenceCheck::NX).with_expiration(SetExpiry::EX(30));
        self.0.set_options::<_, _, bool>("lock:task", "a uuid", options).unwrap()
    }

    fn release(&mut self) -> bool {
        Script::new(RELEASE).key("lock:task").arg("a uuid").invoke(&mut self.0).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_client_excludes_and_is_excluded() {
    let server = RedisServer::start();
    let mut plain = Plain(server.connect());
    let store = connect(&StoreConfig { url: server.url(), ..StoreConfig::default() }).await.unwrap();
    let claim = || Claim::new(LockKey::new("", "lock:task"), "0f3a", "visits", 30_000);
    let take = async |wait| HeldLock::acquire(&store, &claim(), wait).await.unwrap();

    assert!(plain.try_take());
    assert!(take(Duration::ZERO).await.is_none());
    assert!(plain.release());

    let held = take(Duration::ZERO).await.unwrap();
    assert!(!plain.try_take() && !plain.release());
    assert!(held.release().await.unwrap());
    assert!(plain.try_take());

    // A plain client announces no release, so a waiting one looks from time to time.
    let begun = Instant::now();
    let releases = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_millis(300));
        assert!(plain.release());
        plain
    });
    let held = take(Duration::from_secs(10)).await.unwrap();
    assert!((Duration::from_millis(300)..Duration::from_secs(4)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    let mut plain = releases.await.unwrap();
    assert!(!plain.try_take());
    held.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_grow_also_where_the_counter_was_lost() {
    let server = RedisServer::start();
    let store = connect(&StoreConfig { url: server.url(), ..StoreConfig::default() }).await.unwrap();
    let mut last = 0;
    for round in 0..20 {
        let claim = Claim::new(LockKey::new("", "lock:task"), "0f3a", "visits", 30_000);
        let held = HeldLock::acquire(&store, &claim, Duration::ZERO).await.unwrap().unwrap();
        assert!(held.token() > last, "{} after {last}", held.token());
        last = held.token();
        held.release().await.unwrap();
        match round % 3 {
            0 => _ = server.ask(&["FLUSHALL"]),
            1 => _ = server.ask(&["DEL", &claim.lock.token_key]),
            // A clock that was ahead.
            _ => {
                let ahead: u64 = last + 1_000_000;
                server.ask(&["SET", &claim.lock.token_key, &ahead.to_string()]);
            }
        }
        if round % 3 == 2 {
            server.ask(&["SET", &claim.lock.token_key, &last.to_string()]);
        }
    }
}
