//! What a server is sent, by its MONITOR.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use redis::{FromRedisValue, Value, cmd};
use sandbar_tests::RedisServer;

/// Records all commands until it is asked for them.
pub(super) struct Monitor {
    stop: Arc<AtomicBool>,
    lines: JoinHandle<Vec<String>>,
}

impl Monitor {
    pub(super) fn start(server: &RedisServer) -> Self {
        let mut connection = server.connect();
        cmd("MONITOR").exec(&mut connection).unwrap();
        connection.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let lines = std::thread::spawn(move || {
            let mut lines = Vec::new();
            loop {
                match connection.recv_response() {
                    Ok(value) => lines.push(String::from_redis_value(value).unwrap()),
                    Err(error) if error.is_timeout() && !stopped.load(Ordering::Relaxed) => {}
                    Err(error) if error.is_timeout() => return lines,
                    Err(error) => panic!("MONITOR: {error}"),
                }
            }
        });
        Self { stop, lines }
    }

    /// The commands so far, each with its arguments; those within scripts too.
    pub(super) fn commands(self) -> Vec<Vec<String>> {
        self.lines().iter().map(|line| words(line)).collect()
    }

    /// The same with the address of the client that sent each; where the server listens on a socket, all have the same.
    pub(super) fn senders(self) -> Vec<(String, Vec<String>)> {
        let lines = self.lines();
        lines.iter().map(|line| (sender(line).to_owned(), words(line))).collect()
    }

    fn lines(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.lines.join().unwrap()
    }
}

/// The client of a line such as `1.2 [0 127.0.0.1:1234] "set" "a" "b"`.
fn sender(line: &str) -> &str {
    let bracket = line.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    bracket.and_then(|(inside, _)| inside.split_once(' ')).map_or("", |(_, client)| client)
}

/// The words of a line, such as `1.2 [0 unix:x] "set" "a\x00" "b"`.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut chars) = (Vec::new(), line.chars());
    while chars.any(|c| c == '"') {
        let mut word = String::new();
        loop {
            match chars.next() {
                None | Some('"') => break,
                Some('\\') => match chars.next() {
                    Some('x') => {
                        let code: String = chars.by_ref().take(2).collect();
                        word.push(char::from(u8::from_str_radix(&code, 16).unwrap()));
                    }
                    Some('n') => word.push('\n'),
                    Some('r') => word.push('\r'),
                    Some('t') => word.push('\t'),
                    Some('a') => word.push('\u{7}'),
                    Some('b') => word.push('\u{8}'),
                    Some(other) => word.push(other),
                    None => break,
                },
                Some(other) => word.push(other),
            }
        }
        words.push(word);
    }
    words
}

/// Keys, channels and patterns that commands name, each with one command that did.
pub(super) fn named(server: &RedisServer, commands: &[Vec<String>]) -> HashMap<String, String> {
    /// Commands that name nothing.
    const NOTHING: [&str; 18] = [
        "hello",
        "client",
        "info",
        "ping",
        "time",
        "multi",
        "exec",
        "unwatch",
        "discard",
        "script",
        "auth",
        "select",
        "monitor",
        "command",
        "acl",
        "config",
        "unsubscribe",
        "punsubscribe",
    ];
    let mut connection = server.connect();
    let mut named = HashMap::new();
    for command in commands {
        let shown = format!("{:?}", command.iter().take(12).collect::<Vec<_>>());
        let name = command[0].to_lowercase();
        let names = match name.as_str() {
            name if NOTHING.contains(&name) => Vec::new(),
            "publish" | "spublish" => vec![command[1].clone()],
            "subscribe" | "psubscribe" | "ssubscribe" => command[1..].to_vec(),
            "pubsub" => command[2..].to_vec(),
            "scan" => {
                let at = command.iter().position(|word| word.eq_ignore_ascii_case("match"));
                vec![at.map(|at| command[at + 1].replace('\\', "")).expect("a pattern")]
            }
            _ => {
                let mut ask = cmd("COMMAND");
                ask.arg("GETKEYS");
                command.iter().for_each(|word| _ = ask.arg(word));
                match ask.query(&mut connection) {
                    Ok(Value::Array(keys)) => {
                        keys.into_iter().map(|key| String::from_redis_value(key).unwrap()).collect()
                    }
                    Ok(other) => panic!("{shown}: {other:?}"),
                    Err(error) => panic!("{shown}: {error}"),
                }
            }
        };
        names.into_iter().for_each(|name| _ = named.entry(name).or_insert_with(|| shown.clone()));
    }
    named
}

#[test]
fn lines_are_read_as_they_were_sent() {
    assert_eq!(sender(r#"1.2 [0 127.0.0.1:7] "get" "a]""#), "127.0.0.1:7");
    assert_eq!(words(r#"1.2 [0 lua] "set" "a\x00\n" "\"\\" """#), ["set", "a\0\n", "\"\\", ""]);
}
