//! After a write no host answers the old value from memory.

use std::time::{Duration, Instant};

use sandbar_runtime::tiered_cache::Tier;
use sandbar_tests::proxy::Mode;
use sandbar_tests::{Faults, Options, Proxy, RedisServer, poll_until};

use super::*;

/// How long the old value may be answered after a write.
const OLD_MAX: Duration = Duration::from_millis(50);

/// Reads until the new value is answered. Returns how long after `written` the last read began that answered an old
/// one.
async fn old_until(host: &TestHost, key: &str, new: &str, written: Instant) -> Duration {
    let mut last = Duration::ZERO;
    poll_until(PATIENCE, "the new value is answered", async || {
        // Many looks at a time: a poll rests longer than an invalidation takes.
        for _ in 0..2_000 {
            let begun = written.elapsed();
            match fetch_with(host, key, in_memory(), None, Duration::from_secs(1)).await {
                Ok((Some(value), _)) if value == new => return true,
                Ok((Some(_), _)) => last = begun,
                Ok((None, _)) | Err(_) => return false,
            }
            tokio::task::yield_now().await;
        }
        false
    })
    .await;
    last
}

fn spread(name: &str, mut times: Vec<Duration>) -> Duration {
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!("{name}: old for {:?} in the median, {:?} p99, {:?} at most", at(50), at(99), at(100));
    at(100)
}

/// Connections over which the server announces changes.
fn watching(server: &RedisServer) -> Vec<String> {
    let list: String = server.get(&["CLIENT", "LIST"]);
    let tracking = |line: &&str| line.split(' ').any(|word| word.starts_with("flags=") && word.contains('t'));
    let id = |line: &str| line.split(' ').find_map(|word| word.strip_prefix("id=")).unwrap().to_owned();
    list.lines().filter(tracking).map(id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_of_another_host_or_client_is_seen_at_once() {
    let rounds = if std::env::var_os("SANDBAR_LONG").is_some() { 5_000 } else { 200 };
    let server = RedisServer::start();
    let fleet = fleet(&server, 3).await;
    let (mut by_host, mut by_client) = (Vec::new(), Vec::new());
    let mut connection = server.connect();
    for round in 0..rounds {
        let (old, new) = (format!("{round}"), format!("{round} again"));
        set(&fleet[0], "k:1", &old, Expiry::TtlMs(LONG)).await;
        for host in &fleet {
            warm(host, "k:1", &old).await;
        }
        if round % 2 == 0 {
            set(&fleet[0], "k:1", &new, Expiry::TtlMs(LONG)).await;
            let written = Instant::now();
            if round % 4 == 0 {
                let own = old_until(&fleet[0], "k:1", &new, written).await;
                assert_eq!(own, Duration::ZERO, "the host that wrote never answers the old value");
            } else {
                by_host.push(old_until(&fleet[1], "k:1", &new, written).await);
            }
        } else {
            redis::cmd("SETEX").arg("k:1").arg(600).arg(&new).exec(&mut connection).unwrap();
            let written = Instant::now();
            by_client.push(old_until(&fleet[round % 3], "k:1", &new, written).await);
        }
    }
    let worst = spread("after a write of another host", by_host).max(spread("after a write of a client", by_client));
    assert!(worst < OLD_MAX, "{worst:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_races_with_reads_leaves_no_old_value() {
    // The second of two writes comes while the first is being read: its invalidation must win over what was read.
    let server = RedisServer::start();
    let fleet = Arc::new(fleet(&server, 2).await);
    let rounds: u64 = if std::env::var_os("SANDBAR_LONG").is_some() { 20_000 } else { 500 };
    warm_all(&fleet[1], &server).await;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let readers: Vec<_> = (0..KEYS)
        .map(|number| {
            let (fleet, stop) = (fleet.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    fetch_with(&fleet[1], &format!("k:{number}"), in_memory(), None, PATIENCE).await.unwrap();
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let mut connection = server.connect();
    for round in 0..rounds {
        for (write, pause_us) in [(1, round % 40 * 10), (2, 0)] {
            let mut all = redis::pipe();
            for number in 0..KEYS {
                all.cmd("SETEX").arg(format!("k:{number}")).arg(600).arg(format!("{round}.{write}")).ignore();
            }
            all.exec(&mut connection).unwrap();
            let pause = Instant::now();
            while pause.elapsed() < Duration::from_micros(pause_us) {
                tokio::task::yield_now().await;
            }
        }
        let written = Instant::now();
        for number in 0..KEYS {
            old_until(&fleet[1], &format!("k:{number}"), &format!("{round}.2"), written).await;
        }
        // Once more, after all that was on its way has come.
        tokio::time::sleep(Duration::from_millis(2)).await;
        for number in 0..KEYS {
            let (value, _) = fetch_with(&fleet[1], &format!("k:{number}"), in_memory(), None, PATIENCE).await.unwrap();
            assert_eq!(value, Some(format!("{round}.2")), "an old value came back");
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
}

/// Keys that are written and read at the same time.
const KEYS: usize = 8;

async fn warm_all(host: &TestHost, server: &RedisServer) {
    for number in 0..KEYS {
        server.ask(&["SETEX", &format!("k:{number}"), "600", "0"]);
        warm(host, &format!("k:{number}"), "0").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_old_is_answered_after_the_watching_connection_was_lost() {
    let server = RedisServer::start();
    let host = host(store(server.url()).await, "").await;
    let mut times = Vec::new();
    for round in 0..20 {
        server.ask(&["SETEX", "k:1", "600", &format!("{round}")]);
        warm(&host, "k:1", &format!("{round}")).await;
        // In one transaction: the connection is gone before the write, so nothing announces the write.
        let mut transaction = redis::pipe();
        transaction.atomic();
        for id in watching(&server) {
            transaction.cmd("CLIENT").arg("KILL").arg("ID").arg(id);
        }
        transaction.cmd("SETEX").arg("k:1").arg(600).arg(format!("{round} again"));
        transaction.exec(&mut server.connect()).unwrap();
        times.push(old_until(&host, "k:1", &format!("{round} again"), Instant::now()).await);
        poll_until(PATIENCE, "the host hears of changes again", async || watching(&server).len() == 1).await;
        let (value, _) = fetch(&host, "k:1", in_memory()).await.unwrap();
        assert_eq!(value, Some(format!("{round} again")));
    }
    let worst = spread("after the connection was killed", times);
    assert!(worst < OLD_MAX, "{worst:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_old_is_answered_after_a_restart_of_the_server() {
    let server = Options::new().append_only().start();
    let host = host(store(server.url()).await, "").await;
    for round in 0..3 {
        server.ask(&["SETEX", "k:1", "600", &format!("{round}")]);
        warm(&host, "k:1", &format!("{round}")).await;
        server.kill();
        let killed = Instant::now();
        poll_until(PATIENCE, "memory is not trusted", async || {
            fetch_with(&host, "k:1", in_memory(), None, Duration::from_millis(200)).await.is_err()
        })
        .await;
        println!("memory was dropped {:?} after the server was killed", killed.elapsed());
        assert!(killed.elapsed() < Duration::from_secs(1));
        server.restart();
        server.ask(&["SETEX", "k:1", "600", &format!("{round} again")]);
        let old = old_until(&host, "k:1", &format!("{round} again"), Instant::now()).await;
        assert_eq!(old, Duration::ZERO, "never after a reconnect");
        warm(&host, "k:1", &format!("{round} again")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_answered_from_memory_while_the_server_is_silent() {
    let server = Options::new().port().start();
    let proxy = Proxy::start(server.port(), Faults::none(), 1);
    let host = host(store(proxy.url()).await, "").await;
    server.ask(&["SETEX", "k:1", "600", "old"]);
    warm(&host, "k:1", "old").await;
    // Connections stay open and nothing passes: the host is cut off without a word.
    proxy.set_mode(Mode::Frozen);
    server.ask(&["SETEX", "k:1", "600", "new"]);
    let (written, mut last) = (Instant::now(), Duration::ZERO);
    while written.elapsed() < Duration::from_millis(500) {
        let begun = written.elapsed();
        let answer = fetch_with(&host, "k:1", in_memory(), None, Duration::from_millis(50)).await;
        if answer.is_ok() {
            last = begun;
        }
    }
    println!("memory was answered for {last:?} after the host was cut off");
    assert!(last < OLD_MAX, "{last:?}");
    proxy.set_mode(Mode::Open);
    // Reads that were on their way when the host was cut off answer what was there then; those that begin now do not.
    poll_until(PATIENCE, "the host reads again", async || {
        fetch_with(&host, "k:1", in_memory(), None, Duration::from_secs(1)).await.is_ok()
    })
    .await;
    assert_eq!(old_until(&host, "k:1", "new", Instant::now()).await, Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_where_tracking_is_not_permitted() {
    let server = Options::new().port().start();
    // Before version 7 only whole commands can be taken away.
    let tracking = if server.version() < (7, 0) { "-client" } else { "-client|tracking" };
    server.ask(&["ACL", "SETUSER", "host", "on", ">secret", "~*", "&*", "+@all", tracking]);
    let host = host(store(format!("redis://host:secret@127.0.0.1:{}", server.port())).await, "").await;
    source(&host, "k:1", "= v").await;
    assert_eq!(fetch(&host, "k:1", in_memory()).await, found("v", Tier::Loaded));
    for _ in 0..50 {
        assert_eq!(fetch(&host, "k:1", in_memory()).await, found("v", Tier::Store));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_groups_of_keys_are_followed_together() {
    let server = RedisServer::start();
    let host = host(store(server.url()).await, "").await;
    for number in 0..60 {
        let key = format!("group-{number}:k");
        server.ask(&["SETEX", &key, "600", "old"]);
        fetch(&host, &key, in_memory()).await.unwrap();
    }
    for number in [0, 20, 59] {
        let key = format!("group-{number}:k");
        warm(&host, &key, "old").await;
        server.ask(&["SETEX", &key, "600", "new"]);
        assert!(old_until(&host, &key, "new", Instant::now()).await < OLD_MAX);
    }
    assert_eq!(watching(&server).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_of_the_server_drops_everything() {
    let server = RedisServer::start();
    let host = host(store(server.url()).await, "").await;
    server.ask(&["SETEX", "k:1", "600", "old"]);
    warm(&host, "k:1", "old").await;
    server.ask(&["FLUSHALL"]);
    poll_until(OLD_MAX * 4, "it is gone", async || {
        fetch_with(&host, "k:1", in_memory(), None, PATIENCE).await == Ok((None, Tier::Store))
    })
    .await;
}
