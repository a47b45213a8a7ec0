//! What is larger than a call may read is not asked of the store.

use sandbar_tests::{RedisServer, TestHost, components, open_manifest};

use crate::replace::redis;

/// A list of about so many bytes.
const LIST_BYTES: usize = 2_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_is_surely_too_large_is_not_made() {
    for (read_bytes, is_read) in [("64KiB", false), ("64MiB", true)] {
        let server = RedisServer::start();
        let value = "x".repeat(1_000);
        let words: Vec<&str> =
            ["RPUSH", "huge"].into_iter().chain(std::iter::repeat_n(value.as_str(), LIST_BYTES / 1_000)).collect();
        server.ask(&words);
        let manifest = open_manifest("", &format!("[limits]\nread-bytes = \"{read_bytes}\""));
        let test = TestHost::on(redis(&server).await, components::HOSTILE, &manifest).await;
        server.append("events", [vec![("do", "lists".to_owned())]]);
        test.settled(1).await;
        let calls: String = server.get(&["INFO", "commandstats"]);
        assert_eq!(calls.contains("cmdstat_lrange"), is_read, "with {read_bytes}: {calls}");
    }
}
