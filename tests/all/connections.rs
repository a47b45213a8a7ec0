//! Few connections serve a host, however many triggers it runs, and each trigger is woken over one of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sandbar_core::config::StoreConfig;
use sandbar_store::connect;
use sandbar_tests::host::PATIENCE;
use sandbar_tests::{Options, RedisServer, TestHost, components, poll_until};

const TRIGGERS: usize = 200;
/// 2 shared, 4 for commits, 1 for wake-ups, and 1 for the moment after a lost reply.
const CONNECTIONS_MAX: usize = 8;
/// How long all triggers together may take to react. A trigger that is not woken looks by itself after 2.5 to 5
/// seconds, so some of so many would be too late.
const REACTION: Duration = Duration::from_secs(2);
/// How many reactions are measured at most.
const ROUNDS_MAX: usize = 5;

fn manifest() -> String {
    let trigger = |number| format!("[[trigger]]\ntype = \"stream\"\nstream = \"events:{number}\"\nstart = \"0\"\n");
    let triggers: String = (0..TRIGGERS).map(trigger).collect();
    format!("name = \"guest\"\n{triggers}[grants]\nread = [\"*\"]\nwrite = [\"*\"]\n")
}

async fn start(url: String) -> TestHost {
    let store = connect(&StoreConfig { url, ..StoreConfig::default() }).await.unwrap();
    let test = TestHost::on(store, components::HANDLE_COUNT, &manifest()).await;
    poll_until(PATIENCE, "all triggers run", async || sandbar_server::http::Health::health(&test.host).is_ready())
        .await;
    test
}

/// Clients of the server but for the one that asks, as `CLIENT LIST` reports them.
fn clients(server: &RedisServer) -> Vec<BTreeMap<String, String>> {
    let list: String = server.get(&["CLIENT", "LIST"]);
    let parse = |line: &str| {
        let pairs = line.split(' ').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>()
    };
    list.lines().map(parse).filter(|client| client["cmd"] != "client|list").collect()
}

/// The connections over which the server announces changes.
fn watching(server: &RedisServer) -> usize {
    clients(server).iter().filter(|client| client["flags"].contains('t')).count()
}

/// Appends an event to each stream, and answers how long it took until all were done.
async fn reaction(server: &RedisServer, round: &mut u32) -> Duration {
    let mut connection = server.connect();
    let (mut append, mut count) = (redis::pipe(), redis::cmd("MGET"));
    for number in 0..TRIGGERS {
        append.cmd("XADD").arg(format!("events:{number}")).arg("*");
        append.arg("camera").arg(number).arg("seq").arg(*round).ignore();
        count.arg(format!("count:{number}"));
    }
    *round += 1;
    let begun = Instant::now();
    append.exec(&mut connection).unwrap();
    poll_until(PATIENCE, "every trigger reacts", async || {
        let counts: Vec<Option<u32>> = count.query(&mut connection).unwrap();
        counts.iter().all(|found| *found == Some(*round))
    })
    .await;
    begun.elapsed()
}

/// The shortest of a few reactions. Other work on the machine may delay one; triggers that are not woken delay all.
async fn shortest_reaction(server: &RedisServer, round: &mut u32) -> Duration {
    let mut shortest = Duration::MAX;
    for _ in 0..ROUNDS_MAX {
        shortest = shortest.min(reaction(server, round).await);
        if shortest < REACTION {
            break;
        }
    }
    shortest
}

#[tokio::test(flavor = "multi_thread")]
async fn many_triggers_share_few_connections_and_are_woken() {
    let server = RedisServer::start();
    let _test = start(server.url()).await;
    poll_until(PATIENCE, "the host hears of changes", async || watching(&server) == 1).await;
    let mut round = 0;
    // A trigger that has just begun looks by itself.
    reaction(&server, &mut round).await;
    let took = shortest_reaction(&server, &mut round).await;
    let open = clients(&server).len();
    println!("{TRIGGERS} triggers over {open} connections reacted within {took:?}");
    assert!(open <= CONNECTIONS_MAX, "{open} connections");
    assert!(took < REACTION, "it took {took:?}");

    server.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    poll_until(PATIENCE, "the host hears of changes again", async || watching(&server) == 1).await;
    // The first events after the cut may meet connections that are being made anew.
    reaction(&server, &mut round).await;
    let took = shortest_reaction(&server, &mut round).await;
    let open = clients(&server).len();
    println!("after all connections were cut: {open} connections, {took:?}");
    assert!(open <= CONNECTIONS_MAX, "{open} connections");
    assert!(took < REACTION, "it took {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_polled_where_tracking_is_not_permitted() {
    let server = Options::new().port().start();
    // Before version 7 only whole commands can be taken away.
    let tracking = if server.version() < (7, 0) { "-client" } else { "-client|tracking" };
    server.ask(&["ACL", "SETUSER", "host", "on", ">secret", "~*", "&*", "+@all", tracking]);
    let _test = start(format!("redis://host:secret@127.0.0.1:{}", server.port())).await;
    let mut round = 0;
    // A trigger that has just begun looks by itself.
    reaction(&server, &mut round).await;
    let took = shortest_reaction(&server, &mut round).await;
    assert_eq!(watching(&server), 0, "this user cannot hear of changes");
    println!("without tracking {TRIGGERS} triggers reacted within {took:?}");
    assert!(took < REACTION, "it took {took:?}");
    assert!(clients(&server).len() <= CONNECTIONS_MAX);
}
