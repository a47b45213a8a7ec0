//! Ends child processes also when the test process itself is killed.

use std::process::{Child, Command, Stdio};

/// Kills a process as soon as this process is gone, whatever ended it.
///
/// A shell waits at the other end of a pipe; when this process ends, the pipe closes and the shell kills the child by
/// its id. Dropping the guard ends the shell without killing anything: drop it before the child is waited for, so
/// that the id still belongs to it.
#[derive(Debug)]
pub struct Guard(Child);

impl Guard {
    /// Guards the process with this id.
    pub fn new(pid: u32) -> Self {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "read _; kill -9 \"$0\"", &pid.to_string()]);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(shell.spawn().expect("a shell that guards a child process"))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Killed while its standard input is still open, so it cannot reach its own `kill`.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
