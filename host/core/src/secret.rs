//! Texts that are not to be seen: what a configuration or a manifest says about them, and the texts themselves.
//!
//! A [`Setting`] is a text, or a reference to one: to a variable of the environment or a file. It is resolved where
//! it is used, on each host, and never written back: stored, shown and logged manifests contain the reference. Only
//! [`Secret::expose`] shows the text of a [`Secret`]. Pure: [`Sources`] reads the environment and files.

use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::pattern::Pattern;

/// The most bytes of a secret in a file.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;
/// The most bytes in the name of a variable, and in a path.
const REFERENCE_BYTES_MAX: usize = 1024;

/// A text that is not shown: its `Debug` is `***`, and it has neither `Display` nor `Serialize`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// The text itself. The caller must not print it, log it or put it in an error.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// What is written where a text is wanted: the text, or where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Written")]
pub enum Setting {
    /// The text.
    Text(Secret),
    /// A variable of the environment: `{ env = "NAME" }`.
    Env(String),
    /// A file: `{ file = "path" }`, relative to the folder of the host's configuration. One newline at its end is
    /// removed.
    File(PathBuf),
}

/// The same in TOML.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields, expecting = "a text, { env = \"NAME\" } or { file = \"path\" } was expected")]
enum Written {
    Text(String),
    Env { env: String },
    File { file: PathBuf },
}

impl From<Written> for Setting {
    fn from(written: Written) -> Self {
        match written {
            Written::Text(text) => Self::Text(text.into()),
            Written::Env { env } => Self::Env(env),
            Written::File { file } => Self::File(file),
        }
    }
}

impl From<&str> for Setting {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl fmt::Display for Setting {
    /// What a person may see of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("a text"),
            Self::Env(name) => write!(f, "the variable `{}`", name.escape_debug()),
            Self::File(path) => write!(f, "the file `{}`", path.display().to_string().escape_debug()),
        }
    }
}

/// Why a setting has no text. Names the setting and where its text should stand, never the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{setting}` refers to {source_name}, {reason}")]
pub struct SecretError {
    /// The setting, as it is called in its file.
    pub setting: String,
    /// Where its text should stand.
    pub source_name: String,
    /// Why it does not, and what to do.
    pub reason: String,
}

/// Where texts stand.
pub trait Sources: Send + Sync {
    /// The value of a variable; none where it is not set or no text.
    fn variable(&self, name: &str) -> Option<String>;

    /// The first bytes of a file, at most [`SECRET_BYTES_MAX`] and one more. Blocks.
    fn file(&self, path: &Path) -> io::Result<Vec<u8>>;
}

/// Which variables and files may be named; none by default.
#[derive(Debug, Clone, Copy)]
pub struct Allowed<'a> {
    /// Whose grants these are, for errors.
    pub tenant: &'a str,
    /// Names of variables.
    pub env: &'a [Pattern],
    /// Paths of files, as they are written in a manifest.
    pub files: &'a [Pattern],
}

impl Setting {
    /// The text. What the operator of the host has written may refer to anything; `allowed` bounds what others have
    /// written. Reads a file where it must: call it where blocking is allowed.
    pub fn resolve(
        &self,
        setting: &str,
        allowed: Option<Allowed<'_>>,
        sources: &dyn Sources,
    ) -> Result<Secret, SecretError> {
        let fail =
            |reason: String| Err(SecretError { setting: setting.to_owned(), source_name: self.to_string(), reason });
        if let Some(reason) = allowed.and_then(|allowed| self.denied(allowed)) {
            return fail(reason);
        }
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Env(name) => match sources.variable(name).filter(|_| is_variable(name)) {
                Some(value) => Ok(value.into()),
                None => fail("which is not set, or is no text".to_owned()),
            },
            Self::File(path) => match sources.file(path) {
                Ok(bytes) if bytes.len() > SECRET_BYTES_MAX => {
                    fail(format!("which has more than {SECRET_BYTES_MAX} bytes"))
                }
                Ok(bytes) => match String::from_utf8(bytes) {
                    Ok(text) => Ok(without_newline(&text).into()),
                    Err(_) => fail("which is no UTF-8 text".to_owned()),
                },
                Err(error) => fail(format!("which cannot be read: {error}")),
            },
        }
    }

    /// Why it may not be referred to.
    fn denied(&self, allowed: Allowed<'_>) -> Option<String> {
        let any = |patterns: &[Pattern], name: &str| patterns.iter().any(|pattern| pattern.matches(name));
        let Allowed { tenant, env, files } = allowed;
        match self {
            Self::Text(_) => None,
            Self::Env(name) if any(env, name) => None,
            Self::Env(_) => Some(format!(
                "which the tenant `{tenant}` does not grant: list it in `env` of its section in sandbar.toml"
            )),
            Self::File(path) => {
                // A pattern's star stands for slashes too, so a path must not climb.
                let climbs = path.components().any(|part| matches!(part, Component::ParentDir | Component::CurDir));
                let text = path.to_str().filter(|text| text.len() <= REFERENCE_BYTES_MAX && !climbs);
                if text.is_some_and(|text| any(files, text)) {
                    return None;
                }
                Some(format!(
                    "which the tenant `{tenant}` does not grant: list it, without `.` and `..`, in `secret-files` of its section \
                     in sandbar.toml"
                ))
            }
        }
    }
}

/// Whether a name is one that a variable can have.
fn is_variable(name: &str) -> bool {
    (1..=REFERENCE_BYTES_MAX).contains(&name.len()) && !name.contains(['=', '\0'])
}

/// What editors and `echo` put at the end of a file is no part of a secret.
fn without_newline(text: &str) -> &str {
    let line = text.strip_suffix('\n').unwrap_or(text);
    line.strip_suffix('\r').unwrap_or(line)
}

/// An address without its user and password.
pub fn without_secrets(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // A password may also be a parameter of a unix socket's address.
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Variables and files of a test.
    #[derive(Default)]
    struct Fixed(BTreeMap<&'static str, &'static [u8]>);

    impl Sources for Fixed {
        fn variable(&self, name: &str) -> Option<String> {
            String::from_utf8(self.0.get(name)?.to_vec()).ok()
        }

        fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
            let bytes = self.0.get(path.to_str().unwrap()).ok_or(io::ErrorKind::NotFound)?;
            Ok(bytes.to_vec())
        }
    }

    fn setting(toml: &str) -> Result<Setting, String> {
        #[derive(Debug, Deserialize)]
        struct Line {
            value: Setting,
        }
        toml::from_str::<Line>(&format!("value = {toml}")).map(|line| line.value).map_err(|error| error.to_string())
    }

    #[test]
    fn a_setting_is_a_text_or_says_where_it_stands() {
        assert_eq!(setting("\"plain\""), Ok("plain".into()));
        assert_eq!(setting("{ env = \"ACME_KEY\" }"), Ok(Setting::Env("ACME_KEY".to_owned())));
        assert_eq!(setting("{ file = \"secrets/key\" }"), Ok(Setting::File("secrets/key".into())));
        for wrong in ["7", "{}", "{ env = \"A\", file = \"b\" }", "{ variable = \"A\" }", "{ env = 1 }"] {
            let error = setting(wrong).unwrap_err();
            assert!(error.contains("{ env = \"NAME\" }"), "{error}");
        }
    }

    #[test]
    fn a_secret_is_shown_to_nobody() {
        let setting = setting("\"hunter2\"").unwrap();
        assert_eq!(format!("{setting:?} {setting}"), "Text(***) a text");
        let Setting::Text(secret) = setting else { panic!("a text") };
        assert_eq!((secret.expose(), format!("{secret:?}")), ("hunter2", "***".to_owned()));
    }

    #[test]
    fn a_text_is_found_where_it_stands() {
        let sources = Fixed(BTreeMap::from([("A", &b"from env\n"[..]), ("secrets/a", b"from file\r\n")]));
        let text = |toml: &str| setting(toml).unwrap().resolve("config.a", None, &sources).unwrap();
        assert_eq!(text("\"plain\"").expose(), "plain");
        assert_eq!(text("{ env = \"A\" }").expose(), "from env\n", "a variable is taken as it is");
        assert_eq!(text("{ file = \"secrets/a\" }").expose(), "from file");
    }

    #[test]
    fn what_is_missing_is_named_and_what_is_there_is_not_shown() {
        let large: &'static [u8] = vec![b'x'; SECRET_BYTES_MAX + 1].leak();
        let sources = Fixed(BTreeMap::from([("large", large), ("binary", b"hunter2\xff")]));
        let error = |toml: &str| setting(toml).unwrap().resolve("config.a", None, &sources).unwrap_err().to_string();
        insta::assert_snapshot!(error("{ env = \"NONE\" }"), @"`config.a` refers to the variable `NONE`, which is not set, or is no text");
        insta::assert_snapshot!(error("{ file = \"none\" }"), @"`config.a` refers to the file `none`, which cannot be read: entity not found");
        insta::assert_snapshot!(error("{ file = \"large\" }"), @"`config.a` refers to the file `large`, which has more than 65536 bytes");
        insta::assert_snapshot!(error("{ file = \"binary\" }"), @"`config.a` refers to the file `binary`, which is no UTF-8 text");
        assert!(error("{ env = \"\" }").contains("not set") && error("{ env = \"A=B\" }").contains("not set"));
    }

    #[test]
    fn what_others_have_written_refers_to_what_is_granted() {
        let sources = Fixed(BTreeMap::from([("ACME_KEY", &b"key"[..]), ("HOME", b"home"), ("secrets/a", b"a")]));
        let (env, files) = ([Pattern::from("ACME_*")], [Pattern::from("secrets/*")]);
        let check = |toml: &str, allowed: Allowed<'_>| {
            setting(toml).unwrap().resolve("config.a", Some(allowed), &sources).map_err(|error| error.to_string())
        };
        let granted = Allowed { tenant: "acme", env: &env, files: &files };
        assert_eq!(check("{ env = \"ACME_KEY\" }", granted), Ok("key".into()));
        assert_eq!(check("{ file = \"secrets/a\" }", granted), Ok("a".into()));
        let denied = check("{ env = \"HOME\" }", granted).unwrap_err();
        assert!(denied.contains("the tenant `acme` does not grant"), "{denied}");
        for path in ["secrets/../other/a", "./secrets/a", "/etc/passwd", "secrets/./../a"] {
            let denied = check(&format!("{{ file = \"{path}\" }}"), granted).unwrap_err();
            assert!(denied.contains("does not grant"), "{denied}");
        }
        let nothing = Allowed { tenant: "acme", env: &[], files: &[] };
        assert!(
            check("{ env = \"ACME_KEY\" }", nothing).is_err() && check("{ file = \"secrets/a\" }", nothing).is_err()
        );
        assert_eq!(check("\"plain\"", nothing), Ok("plain".into()));
    }

    #[test]
    fn addresses_are_shown_without_secrets() {
        assert_eq!(without_secrets("redis://user:p@ss@host:6379/3"), "redis://host:6379/3");
        assert_eq!(without_secrets("unix:///run/redis.sock?pass=secret"), "unix:///run/redis.sock");
        assert_eq!(without_secrets("redis://127.0.0.1"), "redis://127.0.0.1");
        assert_eq!(without_secrets("embedded"), "embedded");
    }

    proptest! {
        #[test]
        fn no_path_leaves_a_granted_folder(parts in prop::collection::vec("(\\.\\.|\\.|[a-z]{0,2}|secrets)", 0..6)) {
            let path = PathBuf::from(parts.join("/"));
            let files = [Pattern::from("secrets/*")];
            let allowed = Allowed { tenant: "t", env: &[], files: &files };
            if Setting::File(path.clone()).denied(allowed).is_none() {
                prop_assert!(path.starts_with("secrets"), "{}", path.display());
                prop_assert!(!path.components().any(|part| part == Component::ParentDir));
            }
        }
    }
}
