//! A tenant's own user in the server, which keeps it below its prefix whatever the host asks for.
//!
//! All hosts of a fleet share the user; each has a password of its own, which only its memory knows. The host's own
//! user makes the tenant's at the start, and again whenever the server does not know it any more (a restart forgets
//! users that were not saved). What belongs to no single tenant stays with the host's user: client tracking, which
//! tells names of keys of everybody, and users.

use std::sync::Arc;

use ::redis::{Cmd, cmd};
use async_trait::async_trait;

use super::connector::{Connector, User};
use super::reply;
use crate::StoreError;
use sandbar_core::pattern::escape_glob;

/// What the names of users begin with; the tenant's follows.
const USER_PREFIX: &str = "sandbar:";
/// The most passwords of one user. Hosts that were killed leave theirs behind; beyond this all are forgotten, and the
/// hosts that live come back with theirs.
const PASSWORDS_MAX: usize = 64;

/// The commands that a tenant's connections send, those within scripts included, and no others. A test compares them
/// with the code.
pub const COMMANDS: &[&str] = &[
    "del",
    "discard",
    "eval",
    "evalsha",
    "exec",
    "exists",
    "get",
    "hdel",
    "hget",
    "hgetall",
    "hincrby",
    "hlen",
    "hmget",
    "hset",
    "hvals",
    "incr",
    "incrby",
    "llen",
    "lpop",
    "lpos",
    "lpush",
    "lrange",
    "lrem",
    "ltrim",
    "memory|usage",
    "mget",
    "multi",
    "pexpire",
    "pexpireat",
    "ping",
    "psubscribe",
    "pttl",
    "publish",
    "pubsub|numsub",
    "punsubscribe",
    "rename",
    "rpop",
    "rpush",
    "sadd",
    "scan",
    "scard",
    "script|load",
    "set",
    "setrange",
    "sismember",
    "smembers",
    "srem",
    "subscribe",
    "time",
    "unsubscribe",
    "unwatch",
    "watch",
    "xack",
    "xadd",
    "xclaim",
    "xdel",
    "xgroup|create",
    "xgroup|createconsumer",
    "xgroup|delconsumer",
    "xinfo|consumers",
    "xinfo|groups",
    "xinfo|stream",
    "xlen",
    "xpending",
    "xrange",
    "xreadgroup",
    "xrevrange",
    "xtrim",
    "zadd",
    "zcard",
    "zcount",
    "zpopmin",
    "zrange",
    "zrangebyscore",
    "zrem",
    "zremrangebyscore",
    "zrevrange",
    "zscore",
];
/// The same for servers of version 7 and newer.
pub const COMMANDS_7: &[&str] = &["ssubscribe", "sunsubscribe"];

/// A tenant's user.
#[derive(Debug)]
pub(super) struct ServerUser {
    /// Connects as the host itself.
    host: Arc<Connector>,
    name: String,
    prefix: String,
    password: Password,
    is_7: bool,
}

/// A secret that is not shown.
struct Password(String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

impl ServerUser {
    /// A user with a new password, of which the server knows nothing yet.
    pub(super) fn new(host: Arc<Connector>, tenant: &str, prefix: &str, is_7: bool) -> Self {
        let password = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        let name = format!("{USER_PREFIX}{tenant}");
        Self { host, name, prefix: prefix.to_owned(), password: Password(password), is_7 }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Takes this host's password back, and removes the user where no other host has one.
    pub(super) async fn leave(&self) -> Result<(), StoreError> {
        let mut set = cmd("ACL");
        set.arg("SETUSER").arg(&self.name).arg(format!("<{}", self.password()));
        self.ask(&set).await?;
        // A host that comes in between finds its user gone, and makes it again.
        if self.passwords().await? == Some(0) {
            self.ask(cmd("ACL").arg("DELUSER").arg(&self.name)).await?;
        }
        Ok(())
    }

    /// How many passwords the user has; none where there is no such user.
    async fn passwords(&self) -> Result<Option<usize>, StoreError> {
        let answer = self.ask(cmd("ACL").arg("GETUSER").arg(&self.name)).await?;
        if answer == ::redis::Value::Nil {
            return Ok(None);
        }
        let pairs = reply::pairs(answer, &self.name)?;
        let found = pairs
            .into_iter()
            .find(|(name, _)| *name == ::redis::Value::BulkString(b"passwords".to_vec()))
            .map(|(_, value)| value);
        let passwords = found.map(|value| reply::list(value, &self.name)).transpose()?;
        Ok(Some(passwords.map_or(0, |passwords| passwords.len())))
    }

    async fn ask(&self, command: &Cmd) -> Result<::redis::Value, StoreError> {
        let mut connection = self.host.connect().await?;
        let answer = command.query_async(&mut connection).await.map_err(|error| reply::error(&error));
        answer.map_err(|error| match error {
            StoreError::Denied(reason) => StoreError::Invalid(format!(
                "`acl = true` needs a user of the host's own that may change users (+acl): {reason}"
            )),
            other => other,
        })
    }
}

#[async_trait]
impl User for ServerUser {
    fn name(&self) -> &str {
        &self.name
    }

    fn password(&self) -> &str {
        &self.password.0
    }

    /// Makes the user, or adds this host's password to it and brings its permissions in step.
    async fn ensure(&self) -> Result<(), StoreError> {
        let passwords = self.passwords().await?;
        let mut set = cmd("ACL");
        set.arg("SETUSER").arg(&self.name).arg("on");
        if passwords.is_some_and(|passwords| passwords >= PASSWORDS_MAX) {
            set.arg("resetpass");
        }
        set.arg(format!(">{}", self.password()));
        let below = escape_glob(&self.prefix);
        set.arg("resetkeys").arg(format!("~{below}*")).arg("resetchannels").arg(format!("&{below}*"));
        set.arg("nocommands");
        let newer = if self.is_7 { COMMANDS_7 } else { &[] };
        COMMANDS.iter().chain(newer).for_each(|command| {
            set.arg(format!("+{command}"));
        });
        self.ask(&set).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/redis")
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    /// The commands that the code of this folder sends, as `command` or `command|subcommand`.
    fn sent() -> BTreeSet<String> {
        let mut sent = BTreeSet::new();
        let mut folders = vec![folder()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = read(&path);
                let code = text.split("#[cfg(test)]").next().unwrap();
                if !path.ends_with("acl.rs") {
                    sent.extend(words(code));
                }
            }
        }
        sent
    }

    /// Words in capitals that follow the beginnings of commands, with their subcommands.
    fn words(code: &str) -> Vec<String> {
        let mut found = Vec::new();
        for beginning in ["cmd(\"", "call('", "=> \"", "(name, \"", "for_many(\"", "command(\""] {
            for (at, _) in code.match_indices(beginning) {
                let rest = &code[at + beginning.len()..];
                let name: String = rest.chars().take_while(char::is_ascii_uppercase).collect();
                let behind = &rest[name.len()..];
                if name.len() < 3 || !behind.starts_with(['"', '\'']) {
                    continue;
                }
                let argument = behind[1..].trim_start_matches([')', ',', ' ']).trim_start_matches(".arg(");
                let sub: String = argument.chars().skip(1).take_while(char::is_ascii_uppercase).collect();
                let has_subcommands = ["XGROUP", "XINFO", "PUBSUB", "MEMORY", "CLIENT", "SCRIPT"].contains(&&*name);
                let word = if has_subcommands && !sub.is_empty() { format!("{name}|{sub}") } else { name };
                found.push(word.to_lowercase());
            }
        }
        found
    }

    #[test]
    fn exactly_the_commands_that_are_sent_are_allowed() {
        let allowed: BTreeSet<String> = COMMANDS.iter().chain(COMMANDS_7).map(|name| (*name).to_owned()).collect();
        let mut sent = sent();
        // The host's own connections alone send these.
        for own in ["client|tracking", "info"] {
            sent.remove(own);
        }
        // The client library sends these for a script, and for a transaction that is dropped.
        sent.extend(["evalsha", "script|load", "eval", "discard"].map(str::to_owned));
        // Named apart from their command.
        sent.remove("xgroup");
        sent.extend(["xgroup|create"].map(str::to_owned));
        let missing: Vec<_> = sent.difference(&allowed).collect();
        // Some are chosen by what they are for, and stand alone.
        let texts: String = ["effects.rs", "collections.rs"].map(|name| read(&folder().join(name))).concat();
        let is_named = |name: &&String| texts.contains(&format!("\"{}\"", name.to_uppercase()));
        let idle: Vec<_> = allowed.difference(&sent).filter(|name| !is_named(name)).collect();
        assert!(missing.is_empty() && idle.is_empty(), "not allowed: {missing:?}; never sent: {idle:?}");
    }

    #[test]
    fn a_password_is_not_shown() {
        let shown = format!("{:?}", Password("secret".to_owned()));
        assert!(!shown.contains("secret"));
    }
}
