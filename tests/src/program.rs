//! The program `sandbar` as a user starts it: in a folder of its own, with what it prints kept in files.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::guard::Guard;
use crate::poll_until_blocking;

/// How long a program may take for what a test waits for, on a machine that does other things too.
const LIMIT: Duration = Duration::from_secs(60);

/// A folder in which the program is started.
#[derive(Debug)]
pub struct Folder {
    program: PathBuf,
    search_path: Option<String>,
    dir: TempDir,
}

/// How a program ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code.
    pub code: i32,
    /// What it printed to standard output.
    pub out: String,
    /// What it printed to standard error.
    pub err: String,
}

/// A program that runs. It is killed when it is dropped.
#[derive(Debug)]
pub struct Running {
    guard: Option<Guard>,
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Folder {
    /// An empty folder; `program` is the path of `sandbar`.
    pub fn new(program: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("sandbar-cli-").tempdir().expect("a temporary folder");
        Self { program: program.into(), search_path: None, dir }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file, and the folders above it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, content).expect("a file");
    }

    /// Writes a program for the shell.
    pub fn write_program(&self, name: &str, script: &str) {
        self.write(name, format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(self.path().join(name), fs::Permissions::from_mode(0o755)).expect("an executable file");
    }

    /// Lets the program find other programs only in this folder of it, and those of the system.
    pub fn search_only(&mut self, name: &str) {
        self.search_path = Some(format!("{}:/usr/bin:/bin", self.path().join(name).display()));
    }

    /// Puts a file in place in one step, as a build does.
    pub fn replace(&self, name: &str, content: impl AsRef<[u8]>) {
        self.write(".new", content);
        fs::rename(self.path().join(".new"), self.path().join(name)).expect("a file in place");
    }

    /// Starts the program and does not wait.
    pub fn start(&self, arguments: &[&str]) -> Running {
        self.launch(arguments, Stdio::null(), &[])
    }

    /// The same with some variables set.
    pub fn start_in(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Running {
        self.launch(arguments, Stdio::null(), variables)
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Finished {
        self.start(arguments).wait()
    }

    /// The same with some variables set.
    pub fn run_in(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Finished {
        self.launch(arguments, Stdio::null(), variables).wait()
    }

    /// The same with something to read from standard input.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Finished {
        let mut running = self.launch(arguments, Stdio::piped(), &[]);
        let mut stdin = running.child.stdin.take().expect("a pipe");
        stdin.write_all(input.as_bytes()).expect("the program reads");
        drop(stdin);
        running.wait()
    }

    fn launch(&self, arguments: &[&str], stdin: Stdio, variables: &[(&str, &str)]) -> Running {
        let number = fs::read_dir(self.path()).expect("the folder").count();
        let (out, err) = (self.path().join(format!("out-{number}")), self.path().join(format!("err-{number}")));
        let file = |path: &Path| File::create(path).expect("a file for what is printed");
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(self.path()).env_remove("REDIS_URL").env_remove("SANDBAR_LOG");
        command.env("XDG_CACHE_HOME", self.path().join("cache"));
        command.envs(variables.iter().copied());
        if let Some(search_path) = &self.search_path {
            command.env("PATH", search_path);
        }
        let child = command.stdin(stdin).stdout(file(&out)).stderr(file(&err)).spawn().expect("the program");
        Running { guard: Some(Guard::new(child.id())), child, out, err }
    }
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed to standard output so far.
    pub fn out(&self) -> String {
        fs::read_to_string(&self.out).expect("what was printed")
    }

    /// What it has printed to standard error so far.
    pub fn err(&self) -> String {
        fs::read_to_string(&self.err).expect("what was printed")
    }

    /// Waits until something can be found in what it has printed. Panics with all of that where it ends before.
    pub fn until<T>(&mut self, what: &str, mut find: impl FnMut(&str, &str) -> Option<T>) -> T {
        let mut found = None;
        poll_until_blocking(LIMIT, what, || {
            let ended = self.child.try_wait().expect("a child");
            found = find(&self.out(), &self.err());
            let lost = found.is_none() && ended.is_some();
            assert!(!lost, "it ended before: {what}\n{}\n{}", self.out(), self.err());
            found.is_some()
        });
        found.expect("found")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id")).expect("a process id");
        kill_process(pid, signal).expect("a signal to our own child");
    }

    /// Asks it to end (SIGTERM) and waits for that.
    pub fn terminate(self) -> Finished {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits until it ends.
    pub fn wait(mut self) -> Finished {
        let mut status = None;
        poll_until_blocking(LIMIT, "the program ends", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        let code = status.and_then(|status| status.code()).unwrap_or(-1);
        Finished { code, out: self.out(), err: self.err() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.guard.take();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("sandbar printed:\n{}\n{}", self.out(), self.err());
        }
    }
}

/// Sends a GET request and answers status and body; none where there is no answer.
pub fn get(address: &str, path: &str) -> Option<(u16, String)> {
    request(address, "GET", path, "")
}

/// Sends a request without a body and answers status and body; `head` are more lines of its head, each with its end.
/// None where there is no answer.
pub fn request(address: &str, method: &str, path: &str, head: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{head}\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}
