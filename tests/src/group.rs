//! A look at a consumer group of a real server, from outside of the hosts.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use ::redis::{FromRedisValue, Value};

use crate::{RedisServer, poll_until_blocking};

/// A consumer group, and the stream that it reads.
#[derive(Debug, Clone, Copy)]
pub struct Group<'a> {
    server: &'a RedisServer,
    stream: &'a str,
    name: &'a str,
}

impl<'a> Group<'a> {
    /// A group, which need not be there yet.
    pub fn new(server: &'a RedisServer, stream: &'a str, name: &'a str) -> Self {
        Self { server, stream, name }
    }

    /// Entries delivered and not acknowledged; none where there is no such group.
    pub fn pending(&self) -> Option<u64> {
        self.number("pending")
    }

    /// Entries not yet delivered; none where there is no such group, or the server does not know.
    pub fn lag(&self) -> Option<u64> {
        let group = self.state()?;
        match group.get("lag") {
            Some(lag) => u64::from_redis_value_ref(lag).ok(),
            // Before Redis 7 entries have to be counted.
            None => {
                let last = String::from_redis_value_ref(group.get("last-delivered-id")?).ok()?;
                let unread: Vec<Value> = self.server.get(&["XRANGE", self.stream, &format!("({last}"), "+"]);
                Some(unread.len() as u64)
            }
        }
    }

    /// Whether every entry was delivered and acknowledged.
    pub fn is_settled(&self) -> bool {
        self.pending() == Some(0) && self.lag() == Some(0)
    }

    /// Waits until every entry was delivered and acknowledged.
    pub fn settled(&self, limit: Duration) {
        poll_until_blocking(limit, "all entries are acknowledged", || self.is_settled());
    }

    /// Names of the consumers.
    pub fn consumers(&self) -> Vec<String> {
        let consumers: Vec<BTreeMap<String, Value>> = self.server.get(&["XINFO", "CONSUMERS", self.stream, self.name]);
        consumers.iter().map(|consumer| String::from_redis_value_ref(&consumer["name"]).unwrap()).collect()
    }

    fn number(&self, name: &str) -> Option<u64> {
        u64::from_redis_value_ref(self.state()?.get(name)?).ok()
    }

    fn state(&self) -> Option<BTreeMap<String, Value>> {
        let mut connection = self.server.connect();
        let groups: Vec<BTreeMap<String, Value>> =
            ::redis::cmd("XINFO").arg("GROUPS").arg(self.stream).query(&mut connection).unwrap_or_default();
        groups.into_iter().find(|group| group["name"] == Value::BulkString(self.name.as_bytes().to_vec()))
    }
}

/// What the guests `handle_count` and `handle_mark` have made of events that were fed with
/// [`RedisServer::append_counted`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Events without effect.
    pub lost: u64,
    /// Effects too many.
    pub doubled: u64,
}

impl Counted {
    /// Nothing lost, nothing doubled.
    pub const EXACT: Self = Self { lost: 0, doubled: 0 };

    /// Compares what is there with the events of these numbers.
    pub fn of(server: &RedisServer, cameras: u64, numbers: std::ops::Range<u64>) -> Self {
        let (mut lost, mut doubled) = (0, 0);
        for camera in 0..cameras {
            let seen: Vec<u64> = server.get(&["LRANGE", &format!("seen:{camera}"), "0", "-1"]);
            let counted: Option<u64> = server.get(&["GET", &format!("count:{camera}")]);
            let mut times: HashMap<u64, u64> = HashMap::new();
            seen.iter().for_each(|seq| *times.entry(*seq).or_default() += 1);
            let expected: Vec<u64> = numbers.clone().filter(|number| number % cameras == camera).collect();
            let missing = expected.iter().filter(|number| !times.contains_key(number)).count() as u64;
            let again = seen.len() as u64 + missing - expected.len() as u64;
            let (counted, expected) = (counted.unwrap_or_default(), expected.len() as u64);
            lost += missing.max(expected.saturating_sub(counted));
            doubled += again.max(counted.saturating_sub(expected));
        }
        Self { lost, doubled }
    }
}
