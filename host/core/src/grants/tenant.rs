//! What a tenant grants. Pure.

use serde::Deserialize;

use super::{Grants, NameError, any, check_key, check_name};
use crate::pattern::Pattern;

/// What a tenant may grant to its plugins: interfaces that they import, and kinds of triggers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Primitive {
    /// `sandbar:plugin/cache`.
    Cache,
    /// `sandbar:plugin/stream`, and stream triggers.
    Stream,
    /// `sandbar:plugin/queue`, and queue triggers.
    Queue,
    /// `sandbar:plugin/pubsub`, and channel triggers.
    Pubsub,
    /// `sandbar:plugin/lock`.
    Lock,
    /// `sandbar:plugin/collections`.
    Collections,
    /// Outgoing requests, and HTTP triggers.
    Http,
    /// Schedule triggers.
    Schedule,
    /// The export of a loader.
    Loader,
}

impl Primitive {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Cache,
        Self::Stream,
        Self::Queue,
        Self::Pubsub,
        Self::Lock,
        Self::Collections,
        Self::Http,
        Self::Schedule,
        Self::Loader,
    ];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Stream => "stream",
            Self::Queue => "queue",
            Self::Pubsub => "pubsub",
            Self::Lock => "lock",
            Self::Collections => "collections",
            Self::Http => "http",
            Self::Schedule => "schedule",
            Self::Loader => "loader",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|primitive| primitive.name() == name)
    }
}

/// What a tenant grants; by default everything below its prefix, but no HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct TenantGrants {
    /// Keys and streams that may be read.
    pub read: Vec<Pattern>,
    /// Keys and streams that may be written, and read. Streams and queues of triggers are among them.
    pub write: Vec<Pattern>,
    /// Channels that may be published to, and whose subscribers may be counted.
    pub publish: Vec<Pattern>,
    /// Channels of channel triggers.
    pub subscribe: Vec<Pattern>,
    /// Routes of HTTP triggers.
    pub routes: Vec<Pattern>,
    /// See [`Grants::http`].
    pub http: Vec<Pattern>,
    /// What plugins may import, and be triggered by.
    pub primitives: Vec<Primitive>,
}

impl Default for TenantGrants {
    fn default() -> Self {
        let all = || vec![Pattern::from("*")];
        Self {
            read: all(),
            write: all(),
            publish: all(),
            subscribe: all(),
            routes: all(),
            http: Vec::new(),
            primitives: Primitive::ALL.to_vec(),
        }
    }
}

impl TenantGrants {
    /// Those that bind in each call.
    pub fn for_calls(&self) -> Grants {
        let Self { read, write, publish, http, .. } = self.clone();
        Grants { read, write, publish, http }
    }

    /// Whether plugins may have something.
    pub fn has(&self, primitive: Primitive) -> bool {
        self.primitives.contains(&primitive)
    }

    /// Checks the stream or the queue of a trigger, which acknowledges what it reads there.
    pub fn source(&self, key: &str) -> Result<(), NameError> {
        check_key(key)?;
        granted("be triggered by", key, "`write`", any(&self.write, key))
    }

    /// Checks the channel of a trigger.
    pub fn channel(&self, channel: &str) -> Result<(), NameError> {
        check_name("channel", channel)?;
        granted("listen to", channel, "`subscribe`", any(&self.subscribe, channel))
    }

    /// Checks the pattern of a trigger: all channels that it can match must be granted.
    pub fn channels(&self, glob: &str) -> Result<(), NameError> {
        check_name("pattern", glob)?;
        let covers = self.subscribe.iter().any(|pattern| pattern.covers_glob(glob));
        granted("listen to", glob, "`subscribe`", covers)
    }

    /// Checks the route of a trigger.
    pub fn route(&self, route: &str) -> Result<(), NameError> {
        granted("answer below", route, "`routes`", any(&self.routes, route))
    }
}

fn granted(verb: &str, name: &str, grant: &str, holds: bool) -> Result<(), NameError> {
    if holds {
        return Ok(());
    }
    Err(NameError::Denied(format!("may not {verb} `{name}`: no pattern of {grant} in the tenant's grants matches it")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_triggers_must_be_granted() {
        let list = |names: &[&str]| names.iter().map(|name| Pattern::from(*name)).collect::<Vec<_>>();
        let grants = TenantGrants {
            read: list(&["*"]),
            write: list(&["orders:*"]),
            subscribe: list(&["news:*"]),
            routes: list(&["/shop*"]),
            ..TenantGrants::default()
        };
        assert!(grants.source("orders:new").is_ok());
        let denied = grants.source("secrets").unwrap_err().to_string();
        assert!(denied.contains("secrets") && denied.contains("`write`"), "reading is not enough: {denied}");
        assert!(grants.channel("news:1").is_ok() && grants.channels("news:*").is_ok());
        assert!(grants.channel("other").is_err() && grants.channels("n*").is_err());
        assert!(grants.route("/shop/cart").is_ok() && grants.route("/admin").is_err());
    }

    #[test]
    fn the_hosts_own_streams_trigger_nobody() {
        assert!(TenantGrants::default().source("sandbar:journal:x").is_err());
        assert!(TenantGrants::default().source("a\0b").is_err());
    }

    #[test]
    fn names_are_those_of_the_configuration() {
        for primitive in Primitive::ALL {
            let text = format!("primitives = [\"{}\"]", primitive.name());
            assert_eq!(toml::from_str::<TenantGrants>(&text).unwrap().primitives, [primitive]);
            assert_eq!(Primitive::named(primitive.name()), Some(primitive));
        }
    }
}
