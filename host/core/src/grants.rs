//! What a plugin may touch: deny by default.
//!
//! Pure. A plugin can do what its manifest asks for **and** its tenant grants, and nothing else.

use std::net::IpAddr;

use serde::Deserialize;

use crate::address::{self, Block};
use crate::pattern::Pattern;

mod tenant;

pub use tenant::{Primitive, TenantGrants};

/// The most bytes in a key, a channel or a stream's name.
pub const NAME_BYTES_MAX: usize = 1024;

/// What the names of the host's own keys begin with, below the tenant's prefix: fences, retries and attempts. No grant
/// includes them.
pub const RESERVED_PREFIX: &str = "sandbar:";

/// What is asked for, or granted. All lists are empty by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Grants {
    /// Keys and streams that may be read.
    pub read: Vec<Pattern>,
    /// Keys and streams that may be written, and read.
    pub write: Vec<Pattern>,
    /// Channels that may be published to, and whose subscribers may be counted.
    pub publish: Vec<Pattern>,
    /// Hosts that may be sent HTTP requests: `name` or `name:port`. An address that is not public must be granted as
    /// it is, without a star, or lie in the tenant's `http-private`.
    pub http: Vec<Pattern>,
}

impl Grants {
    /// All keys and channels below the tenant's prefix, but no HTTP: what a tenant grants unless its configuration says
    /// otherwise.
    pub fn whole_prefix() -> Self {
        let all = || vec![Pattern::from("*")];
        Self { read: all(), write: all(), publish: all(), http: Vec::new() }
    }
}

/// Why a name may not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is not a name at all.
    #[error("{0}")]
    Invalid(String),
    /// It is not granted.
    #[error("{0}")]
    Denied(String),
}

/// The grants of a plugin: what its manifest asks for, cut to what its tenant grants.
#[derive(Debug, Clone)]
pub struct Policy {
    asked: Grants,
    granted: Grants,
    /// Addresses that are not public and may be connected to.
    private: Vec<Block>,
}

impl Policy {
    /// A policy from the two halves.
    pub fn new(asked: Grants, granted: Grants) -> Self {
        Self { asked, granted, private: Vec::new() }
    }

    /// The same, where granted names may also stand for these addresses, which are not public.
    #[must_use]
    pub fn with_private(self, private: Vec<Block>) -> Self {
        Self { private, ..self }
    }

    /// Checks a key that is to be read.
    pub fn read(&self, key: &str) -> Result<(), NameError> {
        check_key(key)?;
        self.check(key, "read key", "`read` or `write`", |grants| any(&grants.read, key) || any(&grants.write, key))
    }

    /// Checks a key that is to be written.
    pub fn write(&self, key: &str) -> Result<(), NameError> {
        check_key(key)?;
        self.check(key, "write key", "`write`", |grants| any(&grants.write, key))
    }

    /// Checks a channel that is to be published to.
    pub fn publish(&self, channel: &str) -> Result<(), NameError> {
        check_name("channel", channel)?;
        check_reserved(channel)?;
        self.check(channel, "publish to channel", "`publish`", |grants| any(&grants.publish, channel))
    }

    /// Checks a glob pattern that is to be scanned for: all that it can match must be readable.
    pub fn scan(&self, glob: &str) -> Result<(), NameError> {
        check_name("pattern", glob)?;
        let covered =
            |grants: &Grants| grants.read.iter().chain(&grants.write).any(|pattern| pattern.covers_glob(glob));
        self.check(glob, "scan for", "`read` or `write`", covered)
    }

    /// Checks a host and a port that HTTP is to be sent to. An address of IPv6 comes in brackets.
    pub fn http(&self, host: &str, port: u16) -> Result<(), NameError> {
        let (host, authority) = authority(host, port);
        let listed = |grants: &Grants| any(&grants.http, &authority) || any(&grants.http, &host);
        self.check(&authority, "send HTTP to", "`http`", listed)
    }

    /// Checks an address that such a host stands for: names may stand for anything, so it is the address that counts.
    /// It must be public, or lie in the tenant's `http-private`, or the tenant must grant this very address, without
    /// a star.
    pub fn address(&self, host: &str, port: u16, address: IpAddr) -> Result<(), NameError> {
        let (host, authority) = authority(host, port);
        let is_itself = host.trim_start_matches('[').trim_end_matches(']').parse() == Ok(address);
        let names_it = |pattern: &Pattern| [&authority, &host].into_iter().any(|name| pattern.as_str() == name);
        if address::is_public(address)
            || self.private.iter().any(|block| block.contains(address))
            || (is_itself && self.granted.http.iter().any(names_it))
        {
            return Ok(());
        }
        Err(NameError::Denied(format!(
            "may not send HTTP to `{authority}`: its address {address} is not public, and the tenant's `http-private` does not list it"
        )))
    }

    fn check(&self, name: &str, verb: &str, grant: &str, holds: impl Fn(&Grants) -> bool) -> Result<(), NameError> {
        if !holds(&self.asked) {
            return Err(NameError::Denied(format!(
                "may not {verb} `{name}`: no pattern of {grant} in the manifest's [grants] matches it"
            )));
        }
        if !holds(&self.granted) {
            return Err(NameError::Denied(format!(
                "may not {verb} `{name}`: the manifest asks for it, but the tenant's {grant} does not grant it"
            )));
        }
        Ok(())
    }
}

/// A host as it is compared, alone and with its port.
fn authority(host: &str, port: u16) -> (String, String) {
    let host = host.to_ascii_lowercase();
    let authority = format!("{host}:{port}");
    (host, authority)
}

fn any(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

/// Checks a key's name, and that it is not one of the host's own.
fn check_key(key: &str) -> Result<(), NameError> {
    check_name("key", key)?;
    check_reserved(key)
}

/// Checks that a name is not one of the host's own, on whose channels hosts hear of each other.
fn check_reserved(name: &str) -> Result<(), NameError> {
    if name.starts_with(RESERVED_PREFIX) {
        return Err(NameError::Denied(format!(
            "`{name}` is one of the host's own: so is all that begins with `{RESERVED_PREFIX}`"
        )));
    }
    Ok(())
}

/// Checks a name by which operators call something of a tenant: it is a name, and not one of the host's own.
pub fn check_foreign(what: &str, name: &str) -> Result<(), NameError> {
    check_name(what, name)?;
    check_reserved(name)
}

/// Checks that a name is 1 to [`NAME_BYTES_MAX`] bytes without control characters.
pub fn check_name(what: &str, name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Invalid(format!("a {what} may not be empty")));
    }
    if name.len() > NAME_BYTES_MAX {
        let start: String = name.chars().take(40).collect();
        return Err(NameError::Invalid(format!(
            "the {what} `{start}…` has {} bytes; at most {NAME_BYTES_MAX} are allowed",
            name.len()
        )));
    }
    if has_control(name) {
        return Err(NameError::Invalid(format!("the {what} `{}` has a control character", name.escape_debug())));
    }
    Ok(())
}

/// Most names are ASCII, and looked at faster.
fn has_control(name: &str) -> bool {
    if name.is_ascii() { name.bytes().any(|byte| byte.is_ascii_control()) } else { name.chars().any(char::is_control) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let asked = Grants {
            read: vec!["detection:*".into()],
            write: vec!["camera:*:latest".into(), "secret:*".into()],
            publish: vec!["camera:*".into()],
            http: vec!["api.example.com".into()],
        };
        let granted = Grants {
            read: vec!["*".into()],
            write: vec!["camera:*".into()],
            publish: vec!["*".into()],
            http: vec!["*.example.com:443".into(), "api.example.com:443".into()],
        };
        Policy::new(asked, granted)
    }

    #[test]
    fn both_halves_must_agree() {
        assert!(policy().read("detection:7").is_ok());
        assert!(policy().read("camera:1:latest").is_ok(), "write includes read");
        assert!(policy().write("camera:1:latest").is_ok());
        let not_asked = policy().write("detection:7").unwrap_err().to_string();
        assert!(not_asked.contains("manifest"), "{not_asked}");
        let not_granted = policy().write("secret:1").unwrap_err().to_string();
        assert!(not_granted.contains("tenant"), "{not_granted}");
        assert!(policy().publish("camera:9").is_ok() && policy().publish("other").is_err());
    }

    #[test]
    fn names_are_bounded_and_printable() {
        for name in ["", "a\0b", "a\nb", "a\u{7f}", "a\u{85}b", &"x".repeat(NAME_BYTES_MAX + 1)] {
            assert!(matches!(policy().read(name), Err(NameError::Invalid(_))), "{name:?}");
        }
    }

    #[test]
    fn the_hosts_own_keys_are_never_granted() {
        let all = Policy::new(Grants::whole_prefix(), Grants::whole_prefix());
        for key in ["sandbar:fence:s:g:c", "sandbar:"] {
            assert!(matches!(all.read(key), Err(NameError::Denied(_))), "{key}");
            assert!(matches!(all.write(key), Err(NameError::Denied(_))), "{key}");
            assert!(matches!(all.publish(key), Err(NameError::Denied(_))), "{key}");
        }
        assert!(all.write("sandbarring").is_ok());
    }

    #[test]
    fn hosts_are_matched_with_and_without_port() {
        assert!(policy().http("api.example.com", 443).is_ok());
        assert!(policy().http("API.Example.com", 443).is_ok());
        assert!(policy().http("api.example.com", 80).is_err());
        assert!(policy().http("evil.com", 443).is_err());
        assert!(policy().http("api.example.com.evil.com", 443).is_err());
    }

    #[test]
    fn addresses_that_are_not_public_must_be_listed() {
        let open = || Grants { http: vec!["*".into()], ..Grants::default() };
        let listed = |http: &[&str]| {
            let granted = Grants { http: http.iter().map(|name| (*name).into()).collect(), ..Grants::default() };
            Policy::new(open(), granted)
        };
        let check = |policy: &Policy, host: &str, address: &str| policy.address(host, 8080, address.parse().unwrap());
        let any = listed(&["*"]);
        assert!(check(&any, "example.com", "93.184.216.34").is_ok());
        for (host, address) in
            [("internal", "10.0.0.5"), ("10.0.0.5", "10.0.0.5"), ("[::1]", "::1"), ("2130706433", "127.0.0.1")]
        {
            let denied = check(&any, host, address).unwrap_err().to_string();
            assert!(denied.contains("http-private") && denied.contains(address), "{denied}");
        }
        assert!(check(&listed(&["10.0.0.5"]), "10.0.0.5", "10.0.0.5").is_ok());
        assert!(check(&listed(&["10.0.0.5:8080"]), "10.0.0.5", "10.0.0.5").is_ok());
        assert!(check(&listed(&["[::1]:8080"]), "[::1]", "::1").is_ok());
        assert!(check(&listed(&["10.0.0.5:80"]), "10.0.0.5", "10.0.0.5").is_err(), "another port");
        assert!(check(&listed(&["10.0.0.*"]), "10.0.0.5", "10.0.0.5").is_err(), "a star names no address");
        assert!(
            check(&listed(&["internal"]), "internal", "10.0.0.5").is_err(),
            "a name does not vouch for its address"
        );
        let private = listed(&["internal"]).with_private(vec!["10.0.0.0/8".parse().unwrap()]);
        assert!(check(&private, "internal", "10.0.0.5").is_ok());
        assert!(check(&private, "internal", "127.0.0.1").is_err());
    }
}
