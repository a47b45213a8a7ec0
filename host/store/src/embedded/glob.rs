//! Glob patterns as Redis reads them, byte by byte: `*`, `?`, `[a-c]`, `[^a]`, and `\` before a literal.
//!
//! Only the last star is ever tried again, so a match takes at most the product of the two lengths.

/// Whether the whole text matches the pattern.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut rest, mut left) = (pattern, text);
    // What follows the last star, and the text from which it was tried last.
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', behind @ ..] = rest {
            star = Some((behind, left));
            rest = behind;
            continue;
        }
        let step = match left {
            [] => return rest.is_empty(),
            [byte, tail @ ..] => one(rest, *byte).map(|behind| (behind, tail)),
        };
        (rest, left) = match (step, star) {
            (Some(step), _) => step,
            (None, Some((behind, [_, tail @ ..]))) => {
                star = Some((behind, tail));
                (behind, tail)
            }
            (None, _) => return false,
        };
    }
}

/// What follows the pattern's first element, where that element (not a star) matches the byte.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [] => None,
        [b'?', behind @ ..] => Some(behind),
        [b'[', behind @ ..] => class(behind, byte),
        [b'\\', literal, behind @ ..] | [literal, behind @ ..] => (*literal == byte).then_some(behind),
    }
}

/// What follows a class, where the byte is in it. A class that is never closed ends with the pattern.
fn class(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let (negated, mut rest) = match pattern {
        [b'^', behind @ ..] => (true, behind),
        _ => (false, pattern),
    };
    let mut hit = false;
    loop {
        let (found, behind) = match rest {
            [] => break,
            [b'\\', literal, behind @ ..] => (*literal == byte, behind),
            [b']', behind @ ..] => {
                rest = behind;
                break;
            }
            [low, b'-', high, behind @ ..] => ((*low.min(high)..=*low.max(high)).contains(&byte), behind),
            [literal, behind @ ..] => (*literal == byte, behind),
        };
        hit |= found;
        rest = behind;
    }
    (hit != negated).then_some(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sandbar_core::pattern::{Pattern, escape_glob};

    use super::*;

    #[test]
    fn elements() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "anything", true),
            ("camera:*:latest", "camera:17:latest", true),
            ("camera:*:latest", "camera:17:late", false),
            ("a**b", "axxb", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[^e]llo", "hallo", true),
            ("[a-c]x", "bx", true),
            ("[c-a]x", "bx", true),
            ("[a-c]x", "dx", false),
            ("[]x", "]x", false),
            ("[\\]]", "]", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("a\\", "a\\", true),
            ("[ab", "b", true),
            ("[a-]x", "a", true),
            ("*a*b*c", "xxaxxbxxcxxc", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "`{pattern}` and `{text}`");
        }
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = "*a".repeat(200);
        assert!(!matches(pattern.as_bytes(), &[b'a'; 199]));
        assert!(!matches(format!("{pattern}b").as_bytes(), &[b'a'; 2_000]));
    }

    /// The definition: a star matches nothing, or one byte and itself again.
    fn by_definition(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', behind @ ..], []) => by_definition(behind, text),
            ([b'*', behind @ ..], [_, tail @ ..]) => by_definition(behind, text) || by_definition(pattern, tail),
            (_, [byte, tail @ ..]) => one(pattern, *byte).is_some_and(|behind| by_definition(behind, tail)),
            (_, []) => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?\\[\\]^\\\\-]{0,8}", text in "[ab\\-\\]]{0,8}") {
            prop_assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), by_definition(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn an_escaped_text_matches_only_itself(text in "[a-c*?\\[\\\\]{0,8}", other in "[a-c*?\\[\\\\]{0,8}") {
            let escaped: Vec<u8> = text.bytes().flat_map(|byte| [b'\\', byte]).collect();
            prop_assert_eq!(matches(&escaped, other.as_bytes()), text == other);
        }
    }

    #[test]
    fn what_a_covered_glob_finds_is_granted() {
        let text = "[ab*?\\[\\]\\\\^é\\-:]{0,9}";
        sandbar_test_harness::fuzz::check(file!(), "globs", (text, text, text), |(pattern, name, glob)| {
            let pattern = Pattern::from(pattern.as_str());
            let found = |glob: &str| matches(glob.as_bytes(), name.as_bytes());
            if pattern.covers_glob(&glob) && found(&glob) {
                assert!(pattern.matches(&name), "{pattern:?} covers `{glob}`, which finds `{name}`");
            }
            assert!(found(&escape_glob(&name)), "an escaped name finds itself");
        });
    }
}
