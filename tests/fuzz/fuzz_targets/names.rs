//! A pattern matches what its definition says, for names and patterns of any characters.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sandbar_core::pattern::Pattern;

/// How long pattern and name may be: the definition below takes exponential time.
const CHARACTERS_MAX: usize = 12;

fn by_definition(pattern: &[char], name: &[char]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some(('*', rest)) => (0..=name.len()).any(|skipped| by_definition(rest, &name[skipped..])),
        Some((first, rest)) => name.first() == Some(first) && by_definition(rest, &name[1..]),
    }
}

fuzz_target!(|pair: (&str, &str)| {
    let (pattern, name) = pair;
    let (p, n): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    if p.len() <= CHARACTERS_MAX && n.len() <= CHARACTERS_MAX {
        assert_eq!(Pattern::from(pattern).matches(name), by_definition(&p, &n));
    }
});
