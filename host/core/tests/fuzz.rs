//! Configurations, manifests, patterns, secrets and tokens.
#![allow(clippy::indexing_slicing, reason = "all of it is tests, also the functions that they share")]

use std::io;
use std::path::Path;

use sandbar_core::config::Config;
use sandbar_core::manifest::{Manifest, Trigger};
use sandbar_core::pattern::Pattern;
use sandbar_core::secret::{Allowed, Sources};
use sandbar_core::token::Presented;
use sandbar_test_harness::fuzz::{changed, changed_text, check};

/// The blocks of the configuration reference that begin like this: every key there is. Those that are commented out
/// too.
fn blocks(beginning: &str) -> Vec<String> {
    let blocks = include_str!("../../../docs/configuration.md").split("```toml\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split("```").next()).filter(|block| block.starts_with(beginning));
    // Without the remarks, which would take most of the changes.
    let bare = |block: &str| {
        let lines =
            block.lines().map(|line| line.trim_start_matches("# ").split("  #").next().unwrap_or_default().trim_end());
        lines.filter(|line| line.contains('=') || line.starts_with('[')).collect::<Vec<_>>().join("\n")
    };
    let blocks: Vec<String> = blocks.map(bare).collect();
    assert!(!blocks.is_empty());
    blocks
}

/// Nothing is there.
struct Nothing;

impl Sources for Nothing {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

#[test]
fn manifests_are_read_or_refused() {
    let mut bases = blocks("# plugin.toml");
    let own = "name = \"a\"\n[[trigger]]\ntype = \"schedule\"\ncron = \"*/5 3 * 2-4 MON#1\"\ntime-zone = \"Europe/Berlin\"\n\
               [config]\na = \"x\"\nb = { env = \"ACME\" }\nc = { file = \"secrets/c\" }\n";
    bases.push(own.to_owned());
    assert!(bases.iter().any(|base| Manifest::parse(base).is_ok()));
    check(file!(), "manifests", changed_text(bases), |text| {
        let Ok(manifest) = Manifest::parse(&text) else { return };
        assert_eq!(
            manifest.routes().count(),
            manifest.triggers.iter().filter(|trigger| trigger.kind() == "http").count()
        );
        for trigger in &manifest.triggers {
            if let Trigger::Schedule(schedule) = trigger {
                let times = schedule.times().unwrap();
                for ms in [0, 1_795_000_000_000, u64::MAX] {
                    assert!(times.after(ms).is_none_or(|next| next > ms));
                }
            }
        }
        let files = [Pattern::from("*")];
        let allowed = Allowed { tenant: "t", env: &files, files: &files };
        for (key, setting) in &manifest.config {
            let _ = setting.resolve(key, Some(allowed), &Nothing);
        }
    });
}

#[test]
fn configurations_are_read_or_refused() {
    let mut bases = blocks("# sandbar.toml");
    bases.push(
        "[[tenant]]\nname = \"a\"\nprefix = \"a:\"\n[[tenant]]\nname = \"b\"\nprefix = \"b:\"\nenv = [\"B_*\"]\nhttp-private = [\"10.0.0.0/8\"]\n\
         [store]\nurl = { env = \"URL\" }\npassword = { file = \"p\" }\n"
            .to_owned(),
    );
    check(file!(), "configurations", changed_text(bases), |text| {
        let Ok(mut config) = Config::parse(&text) else { return };
        assert!(!config.tenants.is_empty());
        let _ = config.folders().count();
        let _ = config.resolve(&Nothing);
        let _ = format!("{config:?}");
    });
}

/// The definition of a pattern, without any cleverness.
fn by_definition(pattern: &[char], name: &[char]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some(('*', rest)) => (0..=name.len()).any(|skipped| by_definition(rest, &name[skipped..])),
        Some((first, rest)) => name.first() == Some(first) && by_definition(rest, &name[1..]),
    }
}

#[test]
fn patterns_match_what_they_say() {
    let text = "[ab*?\\[\\]\\\\^é\\-:]{0,9}";
    check(file!(), "patterns", (text, text), |(pattern, name)| {
        let (p, n): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
        let pattern = Pattern::from(pattern.as_str());
        let matches = pattern.matches(&name);
        assert_eq!(matches, by_definition(&p, &n));
    });
}

#[test]
fn headers_with_tokens_are_taken_apart() {
    let token = "Bearer sandbar_0123456789abcdef_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    check(file!(), "tokens", changed(vec![token.as_bytes().to_vec(), b"Basic YTpi".to_vec(), Vec::new()]), |header| {
        let _ = Presented::parse(&header);
    });
}

/// Commands could name the keys of others if a prefix let them.
#[test]
fn no_prefix_reaches_the_fleets_keys() {
    let part = "(s|a|n|d|b|r|:|sandbar:|sand|x:|ops:|fleet:){0,4}";
    check(file!(), "prefixes", (part, part, part), |(fleet, prefix, key): (String, String, String)| {
        let text = format!("[fleet]\nprefix = \"{fleet}\"\n[tenant]\nprefix = \"{prefix}\"");
        if Config::parse(&text).is_ok() && !key.starts_with(sandbar_core::grants::RESERVED_PREFIX) {
            let full = format!("{prefix}{key}");
            assert!(!full.starts_with(&format!("{fleet}sandbar:")), "`{prefix}` and `{key}` reach `{fleet}sandbar:`");
        }
    });
}
