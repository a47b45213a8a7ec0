//! Effects as commands. Pure: knows nothing of connections and transactions.
//!
//! This is the hot path of every commit: each value is copied once, into its command. All that can be wrong with a
//! command is found by the server when it runs, not when it is queued, so that one bad effect never aborts
//! a whole transaction: commands without arguments (nothing to add, nothing to delete) are skipped here.

use ::redis::{Cmd, Pipeline, RedisWrite, ToRedisArgs};

use super::scripts::QUEUE_PUSH;
use crate::{Condition, Effect, End, EntryId, Expiry, JobQueue, PushOptions, Retention};

/// What an argument takes beside its bytes, roughly; only for reserving memory.
const ARGUMENT_OVERHEAD_BYTES: usize = 24;

/// Entry ids as arguments; the ids themselves belong to the core, which does not know Redis.
pub(super) struct Ids<'a>(pub(super) &'a [EntryId]);

impl<'a> Ids<'a> {
    /// One id.
    pub(super) fn one(id: &'a EntryId) -> Self {
        Self(std::slice::from_ref(id))
    }
}

impl ToRedisArgs for Ids<'_> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        self.0.iter().for_each(|id| out.write_arg_fmt(id));
    }

    fn num_of_args(&self) -> usize {
        self.0.len()
    }
}

/// Adds the commands of an effect and answers how many: none where there is nothing to do, two or more where a list
/// is cut after a push and where jobs are pushed with options, else one.
pub(super) fn encode(effect: &Effect, pipeline: &mut Pipeline) -> usize {
    let command = match effect {
        Effect::Set { key, value, expiry, condition } => set(key, value, *expiry, *condition),
        Effect::Delete { key } => with_key("DEL", key),
        Effect::Expire { key, ttl_ms } => take(with_key("PEXPIRE", key).arg(signed(*ttl_ms))),
        Effect::Add { key, by } => take(with_key("INCRBY", key).arg(*by)),
        Effect::Append { stream, fields, retention } => {
            if fields.is_empty() {
                return 0;
            }
            let size = fields.iter().map(|field| field.name.len() + field.value.len()).sum();
            let mut command = sized("XADD", stream, 5 + fields.len() * 2, size);
            retain(*retention, &mut command);
            command.arg("*");
            for field in fields {
                command.arg(&field.name).arg(&field.value[..]);
            }
            command
        }
        Effect::Remove { ids, .. } if ids.is_empty() => return 0,
        Effect::Remove { stream, ids } => take(with_key("XDEL", stream).arg(Ids(ids))),
        Effect::Push { queue, payloads, options } if options.is_plain() => {
            return push(&queue.list, End::Front, payloads, None, pipeline);
        }
        Effect::Push { queue, payloads, options } => return push_with(queue, payloads, options, pipeline),
        Effect::Publish { channel, payload } => take(sized("PUBLISH", channel, 1, payload.len()).arg(&payload[..])),
        Effect::HashSet { key, fields } => {
            if fields.is_empty() {
                return 0;
            }
            let size = fields.iter().map(|field| field.name.len() + field.value.len()).sum();
            let mut command = sized("HSET", key, fields.len() * 2, size);
            for field in fields {
                command.arg(&field.name).arg(&field.value[..]);
            }
            command
        }
        Effect::HashDelete { key, names } => return add_many("HDEL", key, names, pipeline),
        Effect::HashAdd { key, name, by } => take(with_key("HINCRBY", key).arg(name).arg(*by)),
        Effect::SetAdd { key, members } => return add_many("SADD", key, members, pipeline),
        Effect::SetRemove { key, members } => return add_many("SREM", key, members, pipeline),
        Effect::SortedAdd { key, members } => {
            if members.is_empty() {
                return 0;
            }
            let size = members.iter().map(|scored| scored.member.len() + ARGUMENT_OVERHEAD_BYTES).sum();
            let mut command = sized("ZADD", key, members.len() * 2, size);
            for scored in members {
                command.arg(scored.score).arg(&scored.member);
            }
            command
        }
        Effect::SortedRemove { key, members } => return add_many("ZREM", key, members, pipeline),
        Effect::SortedRemoveByScore { key, min, max } => take(with_key("ZREMRANGEBYSCORE", key).arg(*min).arg(*max)),
        Effect::ListPush { key, end, values, keep } => return push(key, *end, values, *keep, pipeline),
        Effect::ListRemove { key, value } => take(with_key("LREM", key).arg(0).arg(&value[..])),
    };
    pipeline.add_command(command);
    1
}

/// Adds the arguments that say how much of a stream stays.
pub(super) fn retain(retention: Retention, command: &mut Cmd) {
    match retention {
        Retention::Unlimited => command,
        Retention::About(length) => command.arg("MAXLEN").arg("~").arg(signed(length)),
        Retention::Exactly(length) => command.arg("MAXLEN").arg("=").arg(signed(length)),
        Retention::MinId(id) => command.arg("MINID").arg("=").arg(Ids::one(&id)),
    };
}

fn set(key: &str, value: &[u8], expiry: Expiry, condition: Condition) -> Cmd {
    let mut command = sized("SET", key, 4, value.len());
    command.arg(value);
    match expiry {
        Expiry::Never => &mut command,
        Expiry::KeepTtl => command.arg("KEEPTTL"),
        Expiry::TtlMs(ms) => command.arg("PX").arg(signed(ms)),
    };
    match condition {
        Condition::Always => &mut command,
        Condition::IfAbsent => command.arg("NX"),
        Condition::IfPresent => command.arg("XX"),
    };
    command
}

fn push(key: &str, end: End, values: &[bytes::Bytes], keep: Option<u64>, pipeline: &mut Pipeline) -> usize {
    if values.is_empty() {
        return 0;
    }
    let name = match end {
        End::Front => "LPUSH",
        End::Back => "RPUSH",
    };
    let mut command = sized(name, key, values.len(), values.iter().map(bytes::Bytes::len).sum());
    for value in values {
        command.arg(&value[..]);
    }
    pipeline.add_command(command);
    let Some(keep) = keep else { return 1 };
    let (first, last) = match (end, signed(keep)) {
        (_, 0) => (1, 0),
        (End::Front, keep) => (0, keep - 1),
        (End::Back, keep) => (-keep, -1),
    };
    pipeline.add_command(take(with_key("LTRIM", key).arg(first).arg(last)));
    2
}

/// Pushes that the server's own commands cannot do. A server out of memory refuses a script only when it runs, so
/// before them goes a command that changes nothing and has the whole transaction refused while it is queued.
fn push_with(queue: &JobQueue, payloads: &[bytes::Bytes], options: &PushOptions, pipeline: &mut Pipeline) -> usize {
    if payloads.is_empty() {
        return 0;
    }
    pipeline.add_command(take(with_key("SETRANGE", &queue.sequence_key()).arg(0).arg("")));
    let (dedup, window_ms) = options.deduplicate.as_ref().map_or(("", 0), |(id, window_ms)| (id, *window_ms));
    for payload in payloads {
        let mut command = sized("EVAL", QUEUE_PUSH, 11, payload.len() + queue.list.len() * 8);
        command.arg(5).arg(&queue.list).arg(queue.ready_key()).arg(queue.delayed_key()).arg(queue.sequence_key());
        command.arg(queue.dedup_key()).arg(options.delay_ms).arg(options.priority).arg(&payload[..]);
        command.arg(window_ms).arg(dedup);
        pipeline.add_command(command);
    }
    payloads.len() + 1
}

fn add_many<T: ToRedisArgs>(name: &str, key: &str, members: &[T], pipeline: &mut Pipeline) -> usize {
    if members.is_empty() {
        return 0;
    }
    pipeline.add_command(take(with_key(name, key).arg(members)));
    1
}

/// A command with room for its arguments behind the key.
fn sized(name: &str, key: &str, arguments: usize, bytes: usize) -> Cmd {
    let mut command = Cmd::with_capacity(2 + arguments, name.len() + key.len() + bytes + ARGUMENT_OVERHEAD_BYTES);
    command.arg(name).arg(key);
    command
}

fn with_key(name: &str, key: &str) -> Cmd {
    sized(name, key, 2, 0)
}

/// The end of a chain of arguments.
fn take(command: &mut Cmd) -> Cmd {
    command.take()
}

/// The server counts in signed integers of 64 bits; nothing is larger than its largest.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::{Field, Scored};

    /// The commands of an effect, one a line.
    fn lines(effect: &Effect) -> String {
        let mut pipeline = Pipeline::new();
        let count = encode(effect, &mut pipeline);
        assert_eq!(count, pipeline.len(), "{effect:?}");
        let text = |bytes: &[u8]| match bytes {
            b"" => "''".to_owned(),
            bytes => String::from_utf8_lossy(bytes).into_owned(),
        };
        let argument = |arg: ::redis::Arg<&[u8]>| match arg {
            ::redis::Arg::Simple(bytes) => text(bytes),
            _ => panic!("no cursors"),
        };
        let line = |command: &Cmd| command.args_iter().map(argument).collect::<Vec<_>>().join(" ");
        pipeline.cmd_iter().map(line).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn every_effect_has_its_command() {
        let key = || "k".to_owned();
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<String>>();
        let set = |expiry, condition| Effect::Set { key: key(), value: Bytes::from_static(b"v"), expiry, condition };
        let append = |retention| Effect::Append {
            stream: key(),
            fields: vec![Field::new("a", "1"), Field::new("b", "2")],
            retention,
        };
        let push = |end, keep| Effect::ListPush {
            key: key(),
            end,
            values: vec![Bytes::from_static(b"x"), Bytes::from_static(b"y")],
            keep,
        };
        let jobs = |options| Effect::Push {
            queue: Arc::new(JobQueue::new("t:", "q")),
            payloads: vec![Bytes::from_static(b"x"), Bytes::from_static(b"y")],
            options,
        };
        let id = EntryId { ms: 5, seq: 6 };
        let effects = [
            set(Expiry::Never, Condition::Always),
            set(Expiry::KeepTtl, Condition::IfPresent),
            set(Expiry::TtlMs(300), Condition::IfAbsent),
            Effect::Delete { key: key() },
            Effect::Expire { key: key(), ttl_ms: u64::MAX },
            Effect::Add { key: key(), by: i64::MIN },
            append(Retention::Unlimited),
            append(Retention::About(10)),
            append(Retention::Exactly(10)),
            append(Retention::MinId(id)),
            Effect::Remove { stream: key(), ids: vec![id, EntryId::ZERO] },
            Effect::Publish { channel: key(), payload: Bytes::from_static(b"hello") },
            Effect::HashSet { key: key(), fields: vec![Field::new("a", "1"), Field::new("b", "")] },
            Effect::HashDelete { key: key(), names: names(&["a", "b"]) },
            Effect::HashAdd { key: key(), name: "a".to_owned(), by: -1 },
            Effect::SetAdd { key: key(), members: names(&["a", "b"]) },
            Effect::SetRemove { key: key(), members: names(&["a"]) },
            Effect::SortedAdd { key: key(), members: vec![Scored { member: "a".to_owned(), score: 1.5 }] },
            Effect::SortedRemove { key: key(), members: names(&["a"]) },
            Effect::SortedRemoveByScore { key: key(), min: f64::NEG_INFINITY, max: 1e300 },
            push(End::Front, None),
            push(End::Front, Some(100)),
            push(End::Back, Some(1)),
            push(End::Back, Some(0)),
            Effect::ListRemove { key: key(), value: Bytes::from_static(b"x") },
            jobs(PushOptions::default()),
        ];
        insta::assert_snapshot!(effects.iter().map(lines).collect::<Vec<_>>().join("\n"), @r"
        SET k v
        SET k v KEEPTTL XX
        SET k v PX 300 NX
        DEL k
        PEXPIRE k 9223372036854775807
        INCRBY k -9223372036854775808
        XADD k * a 1 b 2
        XADD k MAXLEN ~ 10 * a 1 b 2
        XADD k MAXLEN = 10 * a 1 b 2
        XADD k MINID = 5-6 * a 1 b 2
        XDEL k 5-6 0-0
        PUBLISH k hello
        HSET k a 1 b ''
        HDEL k a b
        HINCRBY k a -1
        SADD k a b
        SREM k a
        ZADD k 1.5 a
        ZREM k a
        ZREMRANGEBYSCORE k -inf 1e300
        LPUSH k x y
        LPUSH k x y; LTRIM k 0 99
        RPUSH k x y; LTRIM k -1 -1
        RPUSH k x y; LTRIM k 1 0
        LREM k 0 x
        LPUSH t:q x y
        ");
        let deduplicate = Some(("id".to_owned(), 60));
        let options = jobs(PushOptions { delay_ms: 5, priority: 9, deduplicate });
        insta::assert_snapshot!(lines(&options).replace(QUEUE_PUSH, "SCRIPT"), @r"
        SETRANGE t:sandbar:queue:q:seq 0 ''; EVAL SCRIPT 5 t:q t:sandbar:queue:q:ready t:sandbar:queue:q:delayed t:sandbar:queue:q:seq t:sandbar:queue:q:dedup 5 9 x 60 id; EVAL SCRIPT 5 t:q t:sandbar:queue:q:ready t:sandbar:queue:q:delayed t:sandbar:queue:q:seq t:sandbar:queue:q:dedup 5 9 y 60 id
        ");
    }

    #[test]
    fn nothing_to_do_is_no_command() {
        let key = || "k".to_owned();
        let push = |options| Effect::Push { queue: Arc::new(JobQueue::new("", "k")), payloads: vec![], options };
        let effects = [
            Effect::Append { stream: key(), fields: vec![], retention: Retention::Unlimited },
            Effect::Remove { stream: key(), ids: vec![] },
            Effect::HashSet { key: key(), fields: vec![] },
            Effect::HashDelete { key: key(), names: vec![] },
            Effect::SetAdd { key: key(), members: vec![] },
            Effect::SetRemove { key: key(), members: vec![] },
            Effect::SortedAdd { key: key(), members: vec![] },
            Effect::SortedRemove { key: key(), members: vec![] },
            Effect::ListPush { key: key(), end: End::Back, values: vec![], keep: Some(1) },
            push(PushOptions::default()),
            push(PushOptions { priority: 1, ..PushOptions::default() }),
        ];
        for effect in effects {
            assert_eq!(lines(&effect), "", "{effect:?}");
        }
    }
}
