//! Hosts that die or stall over a job.

use std::path::Path;

use sandbar_tests::process::HostProcess;
use sandbar_tests::{RedisServer, components, poll_until_blocking};

use super::{PATIENCE, job, manifest};

fn start(server: &RedisServer, folder: &Path, trigger: &str) -> HostProcess {
    let path = folder.join("plugin.toml");
    let trigger = format!("visibility-timeout = \"300ms\"\n{trigger}");
    std::fs::write(&path, manifest(&trigger, "[limits]\ndeadline = \"1h\"")).unwrap();
    HostProcess::start(env!("CARGO_BIN_EXE_host-under-test"), &server.url(), &path, components::QUEUE_JOB, None)
}

fn runs(server: &RedisServer, name: &str) -> Option<u64> {
    server.get(&["GET", &format!("runs:{name}")])
}

#[test]
fn the_death_of_a_host_is_not_an_attempt() {
    let (server, folder) = (RedisServer::start(), tempfile::tempdir().unwrap());
    server.ask(&["LPUSH", "jobs", &job("hang-once", "fatal", "")]);
    let doomed = start(&server, folder.path(), "max-attempts = 1");
    poll_until_blocking(PATIENCE, "the job is being handled", || runs(&server, "fatal") == Some(1));
    // Killed when it is dropped.
    drop(doomed);
    let next = start(&server, folder.path(), "max-attempts = 1");
    let done = || server.get::<Vec<String>>(&["LRANGE", "order", "0", "-1"]);
    poll_until_blocking(PATIENCE, "the job is done", || done() == ["fatal"]);
    assert!(server.get::<u64>(&["GET", "at:fatal:1"]) > 0, "both runs were its first attempt");
    assert_eq!(server.get::<u64>(&["EXISTS", "at:fatal:2", "jobs:dead"]), 0);
    assert!(next.terminate());
}

/// Jobs that were taken together with one that kills hosts are counted with it; here none is.
const ONE_BY_ONE: &str = "max-crashes = 2\nbatch = 1\nprefetch = 0";

#[test]
fn a_job_over_which_hosts_die_ends_in_the_dead_letters() {
    let (server, folder) = (RedisServer::start(), tempfile::tempdir().unwrap());
    server.ask(&["LPUSH", "jobs", &job("hang", "fatal", "")]);
    for crashes in 1..=3 {
        let doomed = start(&server, folder.path(), ONE_BY_ONE);
        poll_until_blocking(PATIENCE, "the job is being handled", || runs(&server, "fatal") == Some(crashes));
        server.ask(&["LPUSH", "jobs", &job("done", &format!("beside {crashes}"), "")]);
        drop(doomed);
    }
    let last = start(&server, folder.path(), ONE_BY_ONE);
    poll_until_blocking(PATIENCE, "it is given up", || server.get::<u64>(&["XLEN", "jobs:dead"]) == 1);
    let dead_letters: Vec<(String, std::collections::BTreeMap<String, String>)> =
        server.get(&["XRANGE", "jobs:dead", "-", "+"]);
    let dead_letter = &dead_letters[0].1;
    assert!(dead_letter["reason"].contains("hosts died or stalled over it 3 times"), "{dead_letter:?}");
    assert_eq!((&dead_letter["attempt"][..], &dead_letter["payload"]), ("1", &job("hang", "fatal", "")));
    assert_eq!(runs(&server, "fatal"), Some(3), "it was not handled again");
    let done = || server.get::<Vec<String>>(&["LRANGE", "order", "0", "-1"]);
    poll_until_blocking(PATIENCE, "what was beside it is done", || done().len() >= 3);
    let mut done = done();
    done.sort_unstable();
    assert_eq!(done, ["beside 1", "beside 2", "beside 3"]);
    assert!(last.terminate());
}

#[test]
fn a_host_that_works_longer_than_the_visibility_time_out_keeps_its_jobs() {
    let (server, folder) = (RedisServer::start(), tempfile::tempdir().unwrap());
    server.ask(&["LPUSH", "jobs", &job("hang", "long", "")]);
    let mut slow = start(&server, folder.path(), "prefetch = 0");
    slow.ready();
    poll_until_blocking(PATIENCE, "the job is being handled", || runs(&server, "long") == Some(1));
    let mut other = start(&server, folder.path(), "prefetch = 0");
    other.ready();
    for number in 0..10 {
        // The other host looks for abandoned leases with each take.
        std::thread::sleep(std::time::Duration::from_millis(100));
        server.ask(&["LPUSH", "jobs", &job("done", &number.to_string(), "")]);
    }
    let done = || server.get::<u64>(&["LLEN", "order"]);
    poll_until_blocking(PATIENCE, "the others are done", || done() == 10);
    assert_eq!(runs(&server, "long"), Some(1), "its lease was extended");
    // A stalled host is no host: what it has goes to the other one.
    slow.pause();
    poll_until_blocking(PATIENCE, "it is taken by the other host", || runs(&server, "long") == Some(2));
}
