//! The proxy does what its faults say, to a real server.

use std::time::Duration;

use redis::{Client, Cmd, Connection, Value};

use super::faults::Verdict;
use super::*;
use crate::{Options, RedisServer, poll_until_blocking};

const LIMIT: Duration = Duration::from_secs(5);

fn start(faults: Faults) -> (RedisServer, Proxy) {
    let server = Options::new().port().start();
    let proxy = Proxy::start(server.port(), faults, 1);
    (server, proxy)
}

fn connect(proxy: &Proxy) -> Connection {
    let connection = Client::open(proxy.url()).unwrap().get_connection().unwrap();
    connection.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    connection
}

fn increment(connection: &mut Connection) -> redis::RedisResult<i64> {
    Cmd::new().arg("INCR").arg("n").query(connection)
}

fn only_increments(faults: Faults) -> Faults {
    Faults { only: Some(b"INCR".to_vec()), ..faults }
}

fn is_one(server: &RedisServer) -> bool {
    server.ask(&["GET", "n"]) == Value::BulkString(b"1".to_vec())
}

#[test]
fn without_faults_everything_passes() {
    let (_server, proxy) = start(Faults::none());
    let mut connection = connect(&proxy);
    let value = vec![b'x'; 3_000_000];
    Cmd::new().arg("SET").arg("k").arg(&value).exec(&mut connection).unwrap();
    assert_eq!(Cmd::new().arg("GET").arg("k").query::<Vec<u8>>(&mut connection).unwrap(), value);
    assert_eq!(proxy.counts().connections, 1);
}

#[test]
fn a_lost_reply_was_carried_out() {
    let (server, proxy) = start(only_increments(Faults { lose_reply: 1.0, ..Faults::none() }));
    assert!(increment(&mut connect(&proxy)).is_err());
    // The client's connection is closed after the server has answered.
    assert!(is_one(&server));
    assert_eq!(proxy.counts().replies_lost, 1);
}

#[test]
fn a_late_request_arrives_after_the_client_was_cut_off() {
    let late_for = Duration::from_millis(300)..Duration::from_millis(301);
    let (server, proxy) = start(only_increments(Faults { late: 1.0, late_for, ..Faults::none() }));
    assert!(increment(&mut connect(&proxy)).is_err());
    assert_eq!(server.ask(&["EXISTS", "n"]), Value::Int(0));
    poll_until_blocking(LIMIT, "the late request arrives", || is_one(&server));
    assert_eq!(proxy.counts().late, 1);
}

#[test]
fn a_stalled_request_arrives_after_the_client_has_given_up() {
    let (server, proxy) = start(only_increments(Faults { stall: 1.0, ..Faults::none() }));
    let mut connection = connect(&proxy);
    assert!(increment(&mut connection).is_err());
    assert_eq!(server.ask(&["EXISTS", "n"]), Value::Int(0));
    drop(connection);
    poll_until_blocking(LIMIT, "the stalled request arrives", || is_one(&server));
    assert_eq!(proxy.counts().stalled, 1);
}

#[test]
fn a_cut_request_never_arrives() {
    let (server, proxy) = start(only_increments(Faults { cut: 1.0, ..Faults::none() }));
    assert!(increment(&mut connect(&proxy)).is_err());
    proxy.set_faults(Faults::none());
    assert_eq!(increment(&mut connect(&proxy)).unwrap(), 1);
    assert!(is_one(&server));
    assert_eq!(proxy.counts().cut, 1);
}

#[test]
fn a_frozen_proxy_holds_what_it_got() {
    let (server, proxy) = start(Faults::none());
    let mut connection = connect(&proxy);
    proxy.set_mode(Mode::Frozen);
    assert!(increment(&mut connection).is_err());
    assert_eq!(server.ask(&["EXISTS", "n"]), Value::Int(0));
    proxy.set_mode(Mode::Open);
    poll_until_blocking(LIMIT, "the held request arrives", || is_one(&server));
}

#[test]
fn a_closed_proxy_cuts_connections() {
    let (_server, proxy) = start(Faults::none());
    let mut connection = connect(&proxy);
    proxy.set_mode(Mode::Closed);
    poll_until_blocking(LIMIT, "the connection is cut", || {
        Cmd::new().arg("PING").exec(&mut connection).is_err_and(|err| err.is_connection_dropped())
    });
    proxy.set_mode(Mode::Open);
    assert_eq!(increment(&mut connect(&proxy)).unwrap(), 1);
}

#[test]
fn the_same_seed_draws_the_same_faults() {
    let faults = Faults { stall: 0.1, delay: 0.1, ..Faults::lossy(0.1, b"EXEC") };
    let draw = |seed| {
        let mut random = StdRng::seed_from_u64(seed);
        (0..500).map(|_| faults.draw(b"*1\r\n$4\r\nEXEC\r\n", &mut random)).collect::<Vec<_>>()
    };
    let drawn = draw(7);
    assert_eq!(drawn, draw(7));
    assert_ne!(drawn, draw(8));
    let share = |wanted: fn(&Verdict) -> bool| drawn.iter().filter(|verdict| wanted(verdict)).count();
    assert!((20..=90).contains(&share(|verdict| matches!(verdict, Verdict::Late(_)))));
    assert!((20..=90).contains(&share(|verdict| matches!(verdict, Verdict::Tear(_)))));
    assert!((130..=280).contains(&share(|verdict| *verdict == Verdict::Pass)));
    let mut random = StdRng::seed_from_u64(7);
    assert_eq!(faults.draw(b"*1\r\n$4\r\nPING\r\n", &mut random), Verdict::Pass);
}
