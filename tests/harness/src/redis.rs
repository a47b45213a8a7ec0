//! Real Redis servers, one process each, in a folder of their own.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use ::redis::{Client, Cmd, Connection, FromRedisValue, Value};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::guard::Guard;
use crate::poll_until_blocking;

/// How long a server may take until it answers; loading an append-only file counts.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How often another port is tried when another client was faster.
const PORT_ATTEMPTS: usize = 5;
/// How many entries are appended in one write.
const APPEND_MAX: usize = 1000;
/// How much of the log is shown when a test fails.
const LOG_LINES: usize = 40;

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    port: bool,
    append_only: bool,
    user: Option<(String, String)>,
    args: Vec<String>,
}

impl Options {
    /// A server without persistence on a unix socket.
    pub fn new() -> Self {
        Self::default()
    }

    /// Listens on a free port of 127.0.0.1 instead of a unix socket.
    #[must_use]
    pub fn port(mut self) -> Self {
        self.port = true;
        self
    }

    /// Writes every command to an append-only file before it answers, so that a restart forgets nothing.
    #[must_use]
    pub fn append_only(mut self) -> Self {
        self.append_only = true;
        self
    }

    /// Lets nobody in but this user, who may do everything.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.user = Some((name.to_owned(), password.to_owned()));
        self
    }

    /// Adds a line of configuration, such as `maxmemory` and `10mb`.
    #[must_use]
    pub fn config(mut self, name: &str, value: &str) -> Self {
        self.args.extend([format!("--{name}"), value.to_owned()]);
        self
    }

    /// Starts the server and waits until it answers.
    pub fn start(self) -> RedisServer {
        RedisServer::with(self)
    }
}

/// A Redis server of a test. It is killed when it is dropped; its log is shown if the test panics.
#[derive(Debug)]
pub struct RedisServer {
    options: Options,
    /// Nothing for a unix socket.
    port: Option<u16>,
    dir: TempDir,
    process: Mutex<Option<Process>>,
}

/// A running server. The guard is dropped first, while the process id is still its own.
#[derive(Debug)]
struct Process {
    guard: Option<Guard>,
    child: Child,
}

impl RedisServer {
    /// Starts a server without persistence on a unix socket.
    pub fn start() -> Self {
        Self::with(Options::new())
    }

    /// Starts a server and waits until it answers.
    #[expect(clippy::needless_pass_by_value, reason = "callers make the options for this call alone")]
    pub fn with(options: Options) -> Self {
        for _ in 0..PORT_ATTEMPTS {
            let port = options.port.then(free_port);
            let dir = tempfile::Builder::new().prefix("sandbar-redis-").tempdir().expect("a temporary folder");
            let server = Self { options: options.clone(), port, dir, process: Mutex::new(None) };
            if server.spawn() {
                return server;
            }
            assert!(server.log().contains("Address already in use"), "redis-server ended:\n{}", server.log());
        }
        panic!("no free port for redis-server after {PORT_ATTEMPTS} attempts");
    }

    /// The address as a URL, with user and password where there are any.
    pub fn url(&self) -> String {
        match (self.port, &self.options.user) {
            (Some(port), None) => format!("redis://127.0.0.1:{port}"),
            (Some(port), Some((user, password))) => format!("redis://{user}:{password}@127.0.0.1:{port}"),
            (None, None) => format!("unix://{}", self.socket().display()),
            (None, Some((user, password))) => {
                format!("unix://{}?user={user}&pass={password}", self.socket().display())
            }
        }
    }

    /// The port; panics where the server listens on a unix socket.
    pub fn port(&self) -> u16 {
        self.port.expect("this server listens on a unix socket")
    }

    /// The process id; panics where the server was killed.
    pub fn pid(&self) -> u32 {
        self.process().as_ref().expect("a running server").child.id()
    }

    /// A connection of the test's own.
    pub fn connect(&self) -> Connection {
        let client = Client::open(self.url()).expect("a valid address");
        client.get_connection().unwrap_or_else(|err| panic!("cannot connect to {}: {err}\n{}", self.url(), self.log()))
    }

    /// Sends one command over a new connection and answers its value. Panics where the server answers an error.
    pub fn ask(&self, words: &[&str]) -> Value {
        let mut command = Cmd::new();
        words.iter().for_each(|word| _ = command.arg(word));
        command.query(&mut self.connect()).unwrap_or_else(|err| panic!("{words:?}: {err}"))
    }

    /// The same, as a value of a type that the test expects.
    pub fn get<T: FromRedisValue>(&self, words: &[&str]) -> T {
        T::from_redis_value(self.ask(words)).unwrap_or_else(|err| panic!("{words:?}: {err}"))
    }

    /// The first two numbers of the server's version.
    pub fn version(&self) -> (u32, u32) {
        let info: String = self.get(&["INFO", "server"]);
        let text = info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or_default();
        let mut numbers = text.split('.').map(|number| number.parse().unwrap_or_default());
        (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
    }

    /// Appends entries, each a list of names and values.
    pub fn append<'a>(&self, stream: &str, entries: impl IntoIterator<Item = Vec<(&'a str, String)>>) {
        let mut connection = self.connect();
        let mut entries = entries.into_iter().peekable();
        while entries.peek().is_some() {
            let mut pipeline = ::redis::pipe();
            for entry in entries.by_ref().take(APPEND_MAX) {
                pipeline.cmd("XADD").arg(stream).arg("*");
                entry.into_iter().for_each(|(name, value)| _ = pipeline.arg(name).arg(value));
                pipeline.ignore();
            }
            pipeline.query::<()>(&mut connection).unwrap_or_else(|err| panic!("cannot append to {stream}: {err}"));
        }
    }

    /// Appends events with these numbers for the guests that count, spread over cameras (see `Counted`).
    pub fn append_counted(&self, stream: &str, cameras: u64, numbers: std::ops::Range<u64>) {
        let entry = |seq: u64| vec![("camera", (seq % cameras).to_string()), ("seq", seq.to_string())];
        self.append(stream, numbers.map(entry));
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Kills the server at once (SIGKILL) and waits for its end.
    pub fn kill(&self) {
        self.process().take();
    }

    /// Starts the server again, at the same address and over the same files. Kills it first where it runs.
    pub fn restart(&self) {
        self.kill();
        // A socket file that a killed server left behind would look like a server.
        let _ = std::fs::remove_file(self.socket());
        assert!(self.spawn(), "redis-server did not come back:\n{}", self.log());
    }

    /// Stops the server in its tracks (SIGSTOP): connections stay open, nothing is answered.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a paused server go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("a signal to our own child");
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Starts the process and waits until it answers. False where it ended by itself.
    fn spawn(&self) -> bool {
        let log = File::options().create(true).append(true).open(self.dir.path().join("log")).expect("a log file");
        let mut command = Command::new("redis-server");
        command.args(["--save", "", "--dir"]).arg(self.dir.path());
        match self.port {
            Some(port) => command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]),
            None => command.args(["--port", "0", "--unixsocket"]).arg(self.socket()),
        };
        if self.options.append_only {
            command.args(["--appendonly", "yes", "--appendfsync", "always"]);
        }
        if let Some((user, password)) = &self.options.user {
            command.args(["--user", user, "on", &format!(">{password}"), "~*", "&*", "+@all"]);
            command.args(["--user", "default", "off"]);
        }
        command.args(&self.options.args).stdin(Stdio::null()).stderr(log.try_clone().expect("a log file")).stdout(log);
        let child = match command.spawn() {
            Ok(child) => child,
            Err(err) if err.kind() == ErrorKind::NotFound => {
                panic!("redis-server is not installed: run tests/run once, which installs what the tests need")
            }
            Err(err) => panic!("cannot start redis-server: {err}"),
        };
        let guard = Some(Guard::new(child.id()));
        *self.process() = Some(Process { guard, child });
        let mut ended = false;
        poll_until_blocking(START_LIMIT, "redis-server answers", || {
            ended = self.has_ended();
            ended || self.answers()
        });
        !ended
    }

    fn has_ended(&self) -> bool {
        self.process().as_mut().is_none_or(|process| process.child.try_wait().ok().flatten().is_some())
    }

    fn answers(&self) -> bool {
        let client = Client::open(self.url()).expect("a valid address");
        let connected = client.get_connection_with_timeout(Duration::from_secs(1));
        connected.is_ok_and(|mut connection| ::redis::cmd("PING").query::<String>(&mut connection).is_ok())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let skipped = log.lines().count().saturating_sub(LOG_LINES);
            let tail: Vec<&str> = log.lines().skip(skipped).collect();
            eprintln!("the end of the log of redis-server at {}:\n{}", self.url(), tail.join("\n"));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.guard.take();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_keeps_what_was_written() {
        let server = Options::new().port().append_only().start();
        server.ask(&["SET", "k", "v"]);
        let before = server.pid();
        server.kill();
        assert!(Client::open(server.url()).unwrap().get_connection().is_err());
        server.restart();
        assert_ne!(server.pid(), before);
        assert_eq!(server.ask(&["GET", "k"]), Value::BulkString(b"v".to_vec()));
    }

    #[test]
    fn a_paused_server_answers_later() {
        let server = RedisServer::start();
        let mut connection = server.connect();
        server.pause();
        connection.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert!(::redis::cmd("PING").query::<String>(&mut connection).is_err());
        server.resume();
        assert_eq!(server.ask(&["PING"]), Value::SimpleString("PONG".to_owned()));
    }

    #[test]
    fn strangers_are_kept_out() {
        let server = Options::new().port().user("alice", "secret").start();
        assert_eq!(server.ask(&["ACL", "WHOAMI"]), Value::BulkString(b"alice".to_vec()));
        let stranger = format!("redis://127.0.0.1:{}", server.port());
        let mut connection = Client::open(stranger).unwrap().get_connection().unwrap();
        assert!(::redis::cmd("PING").query::<String>(&mut connection).is_err());
    }
}
