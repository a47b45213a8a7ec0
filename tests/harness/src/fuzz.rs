//! Texts and bytes that nobody would write, by the thousand: whatever comes from a file, the store or the network is
//! read or refused, and nothing panics, overflows or hangs.
//!
//! A case begins with something valid and is changed in a few places: bytes flipped, cut out, doubled, replaced by
//! words that mean something in that place. [`CASES`] in CI, with a fixed seed; [`CASES_LONG`] with `SANDBAR_LONG=1`
//! (and `SANDBAR_SEED`). What fails is kept in `proptest-regressions/` and tried first from then on.

use std::env;
use std::time::Instant;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

/// Cases of each test in CI.
const CASES: u32 = 2_000;
/// Cases of each test in its long form.
const CASES_LONG: u32 = 1_000_000;
/// Changes of one case.
const EDITS_MAX: usize = 6;

/// Runs a test on many cases.
pub fn check<S: Strategy>(file: &'static str, name: &str, strategy: S, test: impl Fn(S::Value)) {
    let is_long = env::var_os("SANDBAR_LONG").is_some();
    let cases = if is_long { CASES_LONG } else { CASES };
    let seed = env::var("SANDBAR_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let config = Config { cases, rng_seed: RngSeed::Fixed(seed), source_file: Some(file), ..Config::default() };
    let begun = Instant::now();
    let ended = TestRunner::new(config).run(&strategy, |value| {
        test(value);
        Ok(())
    });
    if let Err(error) = ended {
        panic!("{name}: {error}");
    }
    eprintln!("{name}: {cases} cases with seed {seed} in {:?}", begun.elapsed());
}

/// One change of some bytes; places are taken modulo the length.
#[derive(Debug, Clone)]
enum Edit {
    Flip(usize, u8),
    Insert(usize, Vec<u8>),
    Cut(usize, usize),
    Double(usize, usize),
    End(usize),
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len().max(1);
        let range = |at: usize, count: usize| at % length..(at % length + count % 64).min(bytes.len());
        match self {
            Self::Flip(at, with) => bytes.iter_mut().skip(at % length).take(1).for_each(|byte| *byte ^= with),
            Self::Insert(at, word) => {
                let at = (at % length).min(bytes.len());
                bytes.splice(at..at, word.iter().copied());
            }
            Self::Cut(at, count) => drop(bytes.drain(range(*at, *count))),
            Self::Double(at, count) => {
                let range = range(*at, *count);
                let (end, part) = (range.end, bytes[range].to_vec());
                bytes.splice(end..end, part);
            }
            Self::End(at) => bytes.truncate(at % length),
        }
    }
}

/// Words that mean something in texts of all kinds.
const WORDS: &[&str] = &[
    "\"",
    "'",
    "\\",
    "\n",
    "[",
    "]",
    "{",
    "}",
    "=",
    ",",
    ":",
    "#",
    "*",
    "?",
    "..",
    "/",
    "-",
    "0",
    "-1",
    "1e309",
    "nan",
    "inf",
    "true",
    "null",
    "18446744073709551615",
    "9223372036854775808",
    "-9223372036854775808",
    "4294967296",
    "0x7f",
    "99999999999999999999days",
    "1ns",
    "0s",
    "1000000GiB",
    "{ env = \"X\" }",
    "{ file = \"/\" }",
    "[[trigger]]\n",
    "type = \"schedule\"\n",
    "cron = \"0 0 30 2 *\"\n",
    "every = \"10ms\"\n",
    "time-zone = \"Pacific/Apia\"\n",
    "* * * * * *",
    "L",
    "W",
    "\u{0}",
    "\u{feff}",
    "\u{202e}",
    "\u{10ffff}",
    "{tenant}",
    "sandbar:",
    "\"kind\":\"trial\"",
    "\"percent\":255",
    "until_ms",
    "[tenant]\n",
    "[[tenant]]\n",
    "prefix = \"s\"\n",
    "[http]\n",
    "[[http.token]]\n",
];

fn edit() -> impl Strategy<Value = Edit> {
    let word = prop_oneof![
        4 => proptest::sample::select(WORDS).prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..6),
    ];
    prop_oneof![
        3 => (any::<usize>(), 1u8..).prop_map(|(at, with)| Edit::Flip(at, with)),
        4 => (any::<usize>(), word).prop_map(|(at, word)| Edit::Insert(at, word)),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(at, count)| Edit::Cut(at, count)),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(at, count)| Edit::Double(at, count)),
        1 => any::<usize>().prop_map(Edit::End),
    ]
}

/// One of these, changed in a few places; now and then not at all.
pub fn changed(bases: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (proptest::sample::select(bases), prop::collection::vec(edit(), 0..=EDITS_MAX)).prop_map(|(mut bytes, edits)| {
        edits.iter().for_each(|edit| edit.apply(&mut bytes));
        bytes
    })
}

/// The same as text.
pub fn changed_text(bases: Vec<String>) -> impl Strategy<Value = String> {
    changed(bases.into_iter().map(String::into_bytes).collect())
        .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}
