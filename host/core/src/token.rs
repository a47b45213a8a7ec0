//! Tokens of the API: who may use it, and for what.
//!
//! A token is `sandbar_<id>_<secret>`: the id is public and names it in logs and lists, the secret has 256 random
//! bits. What is kept is the SHA-256 of the whole token. A slow hash such as those for passwords would add nothing:
//! it makes guessing costly where a secret has little entropy, and here there is nothing to guess. A token belongs to
//! one tenant, or to the whole host, and has one [`Role`].
//!
//! Tokens are kept in the store for the whole fleet (`sandbar-fleet`), in the configuration of a host
//! (`[[http.token]]`), or both; the API of `sandbar-server` asks both.

mod record;

use std::fmt;
use std::str::FromStr;

use rand::Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::secret::Secret;

pub use record::{NAME_BYTES_MAX, Previous, Record, Scope};

/// What every token begins with, so that scanners for secrets find it.
const MARK: &str = "sandbar_";
/// Random bytes of an id.
const ID_BYTES: usize = 8;
/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;
/// The most bytes of what is presented as a token that are looked at.
const PRESENTED_BYTES_MAX: usize = 256;

/// What a token may be used for; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Looks at plugins, dead letters, queues, locks, schedules and nodes.
    Read,
    /// Also sends back and drops dead letters, pauses queues, breaks locks, goes back to an earlier version and ends
    /// a trial.
    Operate,
    /// Also puts versions in place, promotes and removes them.
    Deploy,
}

impl Role {
    /// All roles, each of which includes those before it.
    pub const ALL: [Self; 3] = [Self::Read, Self::Operate, Self::Deploy];

    /// Its name in the configuration, the API and the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Deploy => "deploy",
        }
    }

    /// What it allows, in one sentence.
    pub fn allows(self) -> &'static str {
        match self {
            Self::Read => "Looks at plugins, dead letters, queues, locks, schedules and nodes",
            Self::Operate => {
                "Also retries and drops dead letters, pauses queues, breaks locks, rolls back to an earlier version and ends a trial"
            }
            Self::Deploy => "Also deploys, promotes and removes versions",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| format!("`{text}` is not a role: read, operate or deploy"))
    }
}

/// The public part of a token: 16 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct TokenId(String);

impl TokenId {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn random() -> Self {
        Self(hex(&random::<ID_BYTES>()))
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TokenId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_hex(text, ID_BYTES) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("a token's id has {} lower-case hexadecimal digits", 2 * ID_BYTES))
    }
}

impl TryFrom<String> for TokenId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// The SHA-256 of a token. It is compared in constant time, and in no other way:
///
/// ```compile_fail,E0369
/// use sandbar_core::token::TokenHash;
///
/// assert!(TokenHash::of("a") != TokenHash::of("b"));
/// ```
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of no known text, to compare with where there is no record.
    pub const NONE: Self = Self([0; 32]);

    /// That of a token, or of whatever is presented as one.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Whether both are of the same token; takes the same time whatever they are.
    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl From<TokenHash> for String {
    fn from(hash: TokenHash) -> Self {
        hex(&hash.0)
    }
}

impl TryFrom<String> for TokenHash {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = || {
            "the hash of a token has 64 lower-case hexadecimal digits, as `sandbar token create` tells it".to_owned()
        };
        if !is_hex(&text, 32) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(pair).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
            *byte = digits.ok_or_else(wrong)?;
        }
        Ok(Self(bytes))
    }
}

/// A token that was just made. It is shown once.
#[derive(Debug)]
pub struct Minted {
    /// Its public part.
    pub id: TokenId,
    /// The token.
    pub token: Secret,
    /// What is kept of it.
    pub hash: TokenHash,
}

impl Minted {
    /// A token with an id of its own.
    pub fn new() -> Self {
        Self::again(TokenId::random())
    }

    /// A token with a new secret for this id.
    pub fn again(id: TokenId) -> Self {
        let token = format!("{MARK}{id}_{}", hex(&random::<SECRET_BYTES>()));
        Self { hash: TokenHash::of(&token), token: token.into(), id }
    }
}

impl Default for Minted {
    fn default() -> Self {
        Self::new()
    }
}

/// What came in the header `authorization`.
#[derive(Debug, Clone)]
pub struct Presented {
    /// The token's id; none where what came is no token.
    pub id: Option<TokenId>,
    /// The hash of what came.
    pub hash: TokenHash,
}

impl Presented {
    /// Takes a header apart, `Bearer sandbar_<id>_<secret>`. Whatever came is hashed, so that what is no token takes
    /// as long as what is.
    pub fn parse(header: &[u8]) -> Self {
        let header = header.get(..PRESENTED_BYTES_MAX).unwrap_or(header);
        let text = std::str::from_utf8(header).unwrap_or_default();
        let (scheme, token) = text.split_once(' ').unwrap_or_default();
        let hash = TokenHash::of(token);
        let parts = token.strip_prefix(MARK).and_then(|rest| rest.split_once('_'));
        let is_bearer = scheme.eq_ignore_ascii_case("bearer");
        let id =
            parts.filter(|(_, secret)| is_bearer && is_hex(secret, SECRET_BYTES)).and_then(|(id, _)| id.parse().ok());
        Self { id, hash }
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // A generator for secrets, seeded by the system.
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a text is so many bytes in hexadecimal digits.
fn is_hex(text: &str, bytes: usize) -> bool {
    text.len() == 2 * bytes && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(token: &str) -> Presented {
        Presented::parse(format!("Bearer {token}").as_bytes())
    }

    #[test]
    fn a_token_that_was_made_is_known_again() {
        let minted = Minted::new();
        let token = minted.token.expose();
        assert_eq!((token.len(), token.starts_with("sandbar_")), (8 + 16 + 1 + 64, true));
        let presented = bearer(token);
        assert_eq!(presented.id.as_ref(), Some(&minted.id));
        assert!(presented.hash.is(&minted.hash));
        let again = Minted::again(minted.id.clone());
        assert!(again.id == minted.id && !again.hash.is(&minted.hash));
        assert!(!format!("{minted:?}").contains(token.rsplit('_').next().unwrap()));
    }

    #[test]
    fn what_is_no_token_has_no_id() {
        let token = Minted::new().token;
        let text = token.expose();
        for wrong in ["", "x", "sandbar_", "sandbar_1_2", &text[1..], &text[..text.len() - 1], &format!("{text}0")] {
            assert!(bearer(wrong).id.is_none(), "{wrong}");
        }
        assert!(bearer(&text.to_uppercase()).id.is_none());
        for header in ["", "Bearer", text, &format!("Basic {text}"), &format!("Bearer  {text}")] {
            assert!(Presented::parse(header.as_bytes()).id.is_none(), "{header}");
        }
        assert!(Presented::parse(format!("bearer {text}").as_bytes()).id.is_some());
    }

    #[test]
    fn roles_include_those_before_them() {
        assert!(Role::Read < Role::Operate && Role::Operate < Role::Deploy);
    }

    proptest! {
        #[test]
        fn nothing_that_comes_is_too_odd(header in prop::collection::vec(any::<u8>(), 0..600)) {
            let presented = Presented::parse(&header);
            prop_assert!(presented.id.is_none());
        }

        #[test]
        fn hashes_are_read_as_they_are_written(token in ".{0,100}") {
            let hash = TokenHash::of(&token);
            let again = TokenHash::try_from(String::from(hash)).unwrap();
            let other = TokenHash::of(&[token.as_str(), "x"].concat());
            prop_assert!(again.is(&hash) && !again.is(&other));
        }
    }
}
