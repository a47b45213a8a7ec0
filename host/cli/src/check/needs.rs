//! What an import needs of the manifest's grants.
//!
//! Pure. An import without its grant is not refused: each of its calls is denied, so it is reported before.

use sandbar_core::grants::Grants;
use sandbar_core::pattern::Pattern;

/// The grants that an interface works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Keys or streams, to read or to write.
    Keys,
    /// Channels.
    Channels,
    /// Hosts.
    Hosts,
}

impl Need {
    /// What an interface needs, by its name with or without a version; none where it needs no grant.
    pub(super) fn of(import: &str) -> Option<Self> {
        match import.split('@').next()? {
            "sandbar:plugin/cache" | "sandbar:plugin/stream" | "sandbar:plugin/collections" => Some(Self::Keys),
            "sandbar:plugin/pubsub" => Some(Self::Channels),
            "wasi:http/outgoing-handler" => Some(Self::Hosts),
            _ => None,
        }
    }

    /// The grants by name, with what a manifest has of them.
    pub(super) fn in_words(self, grants: Option<&Grants>) -> String {
        let names = match self {
            Self::Keys => "`read` or `write`",
            Self::Channels => "`publish`",
            Self::Hosts => "`http`",
        };
        let Some(grants) = grants else { return names.to_owned() };
        let lists: &[(&str, &[Pattern])] = match self {
            Self::Keys => &[("read", &grants.read), ("write", &grants.write)],
            Self::Channels => &[("publish", &grants.publish)],
            Self::Hosts => &[("http", &grants.http)],
        };
        let asked: Vec<String> = lists.iter().filter_map(|(name, patterns)| list(name, patterns)).collect();
        if asked.is_empty() {
            return format!("{names}, and the manifest asks for none: every call would be denied");
        }
        asked.join(", ")
    }
}

fn list(name: &str, patterns: &[Pattern]) -> Option<String> {
    let quoted: Vec<String> = patterns.iter().map(|pattern| format!("\"{}\"", pattern.as_str())).collect();
    (!quoted.is_empty()).then(|| format!("{name} = [{}]", quoted.join(", ")))
}
