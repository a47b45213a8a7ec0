//! Other people's keys in a Redis server, and whether they are still as they were.

use std::collections::BTreeMap;

use ::redis::{Cmd, Connection, Pipeline};
use sandbar_test_harness::RedisServer;

/// How many keys of each kind there are.
const KEYS: usize = 300;
/// How long all tests may take.
const TEST_MS: i64 = 3_600_000;
/// What the keys of tests begin with; all others are strangers'.
const OUR_PREFIX: &[u8] = b"test-";

/// All keys of others with their contents, as the server dumps them, and the milliseconds that they have left.
#[derive(Debug)]
pub(crate) struct Strangers(BTreeMap<Vec<u8>, (Vec<u8>, i64)>);

impl Strangers {
    /// Puts keys of all kinds into a server.
    pub(crate) fn settle(server: &RedisServer) -> Self {
        let mut connection = server.connect();
        let mut pipeline = Pipeline::new();
        for n in 0..KEYS {
            let key = |kind: &str| format!("{kind}:{n}").into_bytes();
            pipeline.cmd("SET").arg(key("session")).arg(format!("value {n}"));
            pipeline.cmd("SET").arg(key("expiring")).arg(n).arg("EX").arg(100_000 + n);
            pipeline.cmd("HSET").arg(key("hash")).arg("a").arg(n).arg(&[0_u8, 0xff][..]).arg(&[0xfe_u8][..]);
            pipeline.cmd("SADD").arg(key("set")).arg("a").arg(&[0xff_u8, 0][..]);
            pipeline.cmd("ZADD").arg(key("sorted")).arg(n).arg("a").arg("inf").arg(&[0x80_u8][..]);
            pipeline.cmd("RPUSH").arg(key("list")).arg("a").arg("b");
            pipeline.cmd("XADD").arg(key("stream")).arg("*").arg("a").arg(n);
            // A key that is no text.
            pipeline.cmd("SET").arg([&[0xff, 0xfe, 0x00][..], n.to_string().as_bytes()].concat()).arg("binary");
        }
        // Names that look like those of the tests: the same stream and group, and Sandbar's own keys, without the
        // prefix.
        for stream in ["s", "t", "test", ":s"] {
            pipeline.cmd("XADD").arg(stream).arg("*").arg("a").arg("1");
            pipeline.cmd("XADD").arg(stream).arg("*").arg("a").arg("2");
            pipeline.cmd("XGROUP").arg("CREATE").arg(stream).arg("g").arg("0");
            pipeline.cmd("XREADGROUP").arg("GROUP").arg("g").arg("c1").arg("COUNT").arg(1);
            pipeline.arg("STREAMS").arg(stream).arg(">");
        }
        pipeline.cmd("SET").arg("sandbar:fence:s:g:c1").arg(7);
        pipeline.cmd("ZADD").arg("sandbar:retry:s:g").arg(1).arg("1-1");
        pipeline.cmd("HSET").arg("sandbar:attempts:s:g").arg("1-1").arg(3);
        pipeline.cmd("XADD").arg("s:dead").arg("*").arg("reason").arg("not ours");
        pipeline.exec(&mut connection).expect("other people's keys");
        let strangers = Self(dump(&mut connection));
        assert!(strangers.0.len() > KEYS * 8, "all of them are there");
        strangers
    }

    /// Panics, naming the key, where one is not as it was.
    pub(crate) fn assert_untouched(&self, server: &RedisServer) {
        let now = dump(&mut server.connect());
        for (key, before) in &self.0 {
            let name = String::from_utf8_lossy(key);
            let (now, ttl_ms) = now.get(key).unwrap_or_else(|| panic!("the key `{name}` of another client is gone"));
            assert_eq!(*now, before.0, "the key `{name}` of another client has changed");
            let is_as_before =
                if before.1 < 0 { *ttl_ms < 0 } else { (before.1 - TEST_MS..=before.1).contains(ttl_ms) };
            assert!(is_as_before, "the key `{name}` of another client had {} ms left and has {ttl_ms}", before.1);
        }
        for key in now.keys() {
            let name = String::from_utf8_lossy(key);
            assert!(self.0.contains_key(key), "the key `{name}` is outside of the test's prefix");
        }
    }
}

/// All keys that are not of a test.
fn dump(connection: &mut Connection) -> BTreeMap<Vec<u8>, (Vec<u8>, i64)> {
    let mut keys: Vec<Vec<u8>> = Cmd::new().arg("KEYS").arg("*").query(connection).expect("all keys");
    keys.retain(|key| !key.starts_with(OUR_PREFIX));
    let mut pipeline = Pipeline::new();
    for key in &keys {
        pipeline.cmd("DUMP").arg(key);
        pipeline.cmd("PTTL").arg(key);
    }
    let dumped: Vec<(Vec<u8>, i64)> = pipeline.query(connection).expect("all dumps");
    keys.into_iter().zip(dumped).collect()
}
