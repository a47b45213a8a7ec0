//! Patterns of names: what grants are written in.
//!
//! Pure. A pattern is literal text in which `*` stands for any run of characters, none included. Nothing else is
//! special, so that every key can be written down.

use serde::Deserialize;

/// A pattern of keys or channels, such as `camera:*:latest`. It is taken apart once, since each name that a plugin
/// uses is compared with several.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Pattern {
    text: String,
    shape: Shape,
}

/// What a name must have.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    /// This text.
    Literal,
    /// Nothing.
    Any,
    /// A beginning, an end behind it, and in between these parts in their order.
    Parts { first: Box<str>, middle: Box<[Box<str>]>, last: Box<str> },
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        let shape = match (text.split_once('*'), text.rsplit_once('*')) {
            (Some(("", "")), _) => Shape::Any,
            (Some((first, _)), Some((before, last))) => {
                let middle = before.split('*').skip(1).filter(|part| !part.is_empty());
                Shape::Parts { first: first.into(), middle: middle.map(Box::from).collect(), last: last.into() }
            }
            _ => Shape::Literal,
        };
        Self { text, shape }
    }
}

impl From<&str> for Pattern {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl Pattern {
    /// The text that it was made from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it stands for this name.
    pub fn matches(&self, name: &str) -> bool {
        let Shape::Parts { first, middle, last } = &self.shape else {
            return self.shape == Shape::Any || self.text == name;
        };
        // Most patterns that a name is compared with differ from it in the first character.
        if first.bytes().next().is_some_and(|byte| name.bytes().next() != Some(byte)) {
            return false;
        }
        let between = name.strip_prefix(&**first).and_then(|rest| rest.strip_suffix(&**last));
        let rest = between.and_then(|between| {
            middle.iter().try_fold(between, |rest, part| rest.split_once(&**part).map(|(_, behind)| behind))
        });
        rest.is_some()
    }

    /// Whether every name that a glob of the store stands for is also one of this pattern. It may answer no where the
    /// truth is yes, but never the reverse: the glob's literal beginning must already lie below a pattern that ends
    /// in its only `*`, or the glob must be the pattern itself.
    pub fn covers_glob(&self, glob: &str) -> bool {
        if self.text == glob && !glob.contains(['?', '[', '\\']) {
            return true;
        }
        let Some(prefix) = self.text.strip_suffix('*') else { return false };
        let literal = glob.split(['*', '?', '[', '\\']).next().unwrap_or_default();
        !prefix.contains('*') && literal.starts_with(prefix)
    }
}

/// Makes a prefix literal within a glob pattern of a store.
pub fn escape_glob(prefix: &str) -> String {
    let mut escaped = String::with_capacity(prefix.len());
    for c in prefix.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// What every name begins with that a glob pattern of a store stands for.
pub fn literal_beginning(glob: &str) -> String {
    let (mut literal, mut chars) = (String::new(), glob.chars());
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' => break,
            '\\' => literal.extend(chars.next()),
            c => literal.push(c),
        }
    }
    literal
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stands_for_any_run() {
        let pattern = Pattern::from("camera:*:latest");
        assert!(pattern.matches("camera:1:latest"));
        assert!(pattern.matches("camera::latest"));
        assert!(!pattern.matches("camera:latest"));
        assert!(!pattern.matches("camera:1:latest:x"));
        assert!(Pattern::from("*").matches(""));
        assert!(Pattern::from("a").matches("a") && !Pattern::from("a").matches("ab"));
    }

    #[test]
    fn globs_are_covered_by_their_literal_beginning() {
        assert!(Pattern::from("camera:*").covers_glob("camera:[0-9]*"));
        assert!(Pattern::from("*").covers_glob("?"));
        assert!(!Pattern::from("camera:*").covers_glob("c*"));
        assert!(!Pattern::from("camera:*").covers_glob(r"camera\:1"));
        assert!(!Pattern::from("camera:*:latest").covers_glob("camera:*"));
    }

    #[test]
    fn a_glob_begins_with_its_literal_part() {
        for name in ["t:", "t[1]*:", "a-b:", "\\"] {
            assert_eq!(literal_beginning(&format!("{}*x", escape_glob(name))), name);
        }
        assert_eq!((literal_beginning("a-b?c").as_str(), literal_beginning("[ab]c").as_str()), ("a-b", ""));
    }

    /// The definition, without any cleverness.
    fn reference(pattern: &[char], name: &[char]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some(('*', rest)) => (0..=name.len()).any(|skipped| reference(rest, &name[skipped..])),
            Some((first, rest)) => name.first() == Some(first) && reference(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn matches_its_definition(pattern in "[ab*]{0,8}", name in "[ab]{0,10}") {
            let (p, n): (Vec<_>, Vec<_>) = (pattern.chars().collect(), name.chars().collect());
            prop_assert_eq!(Pattern::from(pattern.as_str()).matches(&name), reference(&p, &n));
        }
    }
}
