//! Hosts in processes of their own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::poll_until_blocking;

/// How long a host may take to end after SIGTERM.
const END_LIMIT: Duration = Duration::from_secs(30);

/// A host's process. It is killed when it is dropped.
#[derive(Debug)]
pub struct HostProcess {
    child: Child,
}

impl HostProcess {
    /// Starts a host; `program` is the path of `host-under-test`. Does not wait until it is ready.
    pub fn start(program: &str, url: &str, manifest: &Path, component: &str, protocol: Option<&str>) -> Self {
        let mut command = Command::new(program);
        command.arg(url).arg(manifest).arg(component).args(protocol).stdout(Stdio::piped());
        Self { child: command.spawn().unwrap() }
    }

    /// Starts a host that runs what is deployed to the fleet of a store; `config` is the text of its configuration.
    /// Compiled components are kept in the folder `cache`. Does not wait until it is ready.
    pub fn join(program: &str, url: &str, cache: &Path, config: &str) -> Self {
        let mut command = Command::new(program);
        command.arg(url).arg("fleet").arg(cache).arg(config).stdout(Stdio::piped());
        Self { child: command.spawn().unwrap() }
    }

    /// Waits until its plugin runs.
    pub fn ready(&mut self) {
        assert_eq!(self.says(), "ready");
    }

    /// Waits until it has joined its fleet, and answers its id there.
    pub fn joined(&mut self) -> String {
        self.says().strip_prefix("ready ").unwrap().to_owned()
    }

    fn says(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Stops it (SIGSTOP).
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to end (SIGTERM) and waits for that. Answers whether it drained.
    pub fn terminate(mut self) -> bool {
        self.signal(Signal::TERM);
        let mut status = None;
        poll_until_blocking(END_LIMIT, "the host ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().success()
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
