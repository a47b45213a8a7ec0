//! What `docs/configuration.md` says is true: its blocks are read, and compared with the defaults.
#![allow(clippy::unwrap_used, clippy::panic, reason = "all of it is tests, also the functions that they share")]

use sandbar_core::config::Config;
use sandbar_core::manifest::{Manifest, Trigger};

/// The configurations and manifests of the reference that begin like this.
fn blocks(beginning: &str) -> Vec<&'static str> {
    let blocks = include_str!("../../../docs/configuration.md").split("```toml\n").skip(1);
    blocks.filter_map(|block| block.split("```").next()).filter(|block| block.starts_with(beginning)).collect()
}

/// The one block that begins like this.
fn block(beginning: &str) -> &'static str {
    let [block] = blocks(beginning)[..] else { panic!("not one block begins with `{beginning}`") };
    block
}

/// The same with the keys that are commented out, but for one of two that exclude each other.
fn with_optional_keys(block: &str) -> String {
    let optional = |line: &str| line.starts_with('[') || line.contains(" = ");
    let uncommented = block.lines().map(|line| line.strip_prefix("# ").filter(|line| optional(line)).unwrap_or(line));
    uncommented.filter(|line| !line.starts_with("command = ")).map(|line| format!("{line}\n")).collect()
}

/// The keys that a table knows, from the error about one that it does not.
fn known(error: &str) -> Vec<&str> {
    let (_, list) = error.rsplit_once("expected ").unwrap();
    list.split('`').skip(1).step_by(2).collect()
}

fn assert_all_named(block: &str, error: &str) {
    let keys = known(error);
    let alone = ["feed", "listen", "memory", "loader"];
    assert!(keys.len() > 1 || keys.iter().all(|key| alone.contains(key)), "{error}");
    for key in keys {
        let named = |line: &str| {
            let line = line.trim_start_matches("# ").trim_start_matches('[');
            line.starts_with(&format!("{key} =")) || line.split(']').next().unwrap().split('.').any(|part| part == key)
        };
        assert!(block.lines().any(named), "`{key}` is missing from docs/configuration.md");
    }
}

#[test]
fn a_configuration_has_every_key_with_its_default() {
    let block = block("# sandbar.toml: every key");
    assert_eq!(Config::parse(block), Ok(Config::default()));
    let all = Config::parse(&with_optional_keys(block)).unwrap();
    assert_eq!(all.tenants[0].quota.effects, Some(500));
    assert!(all.store.ca_file.is_some() && all.engine.cache_dir.is_some() && all.tenants[0].http_ca_file.is_some());
    assert_eq!((all.dev.feed.len(), all.dev.feed[0].rate), (1, 100));
    assert!(all.store.password.is_some() && all.http.tokens[0].record().is_some());
    for table in [
        "",
        "[store]",
        "[http]",
        "[[http.token]]",
        "[cache]",
        "[engine]",
        "[fleet]",
        "[tenant]",
        "[tenant.grants]",
        "[tenant.quota]",
        "[dev]",
        "[[dev.feed]]",
    ] {
        assert_all_named(block, &Config::parse(&format!("{table}\nno-such-key = 1")).unwrap_err().to_string());
    }
}

#[test]
fn a_manifest_has_every_key_with_its_default() {
    let block = block("# plugin.toml: every key");
    let short = "name = \"visits\"\n[[trigger]]\ntype = \"stream\"\nstream = \"page-views\"\n";
    assert_eq!(Manifest::parse(block), Manifest::parse(short));
    let all = Manifest::parse(&with_optional_keys(block)).unwrap();
    let Trigger::Stream(trigger) = &all.triggers[0] else { panic!("a stream trigger") };
    assert!(all.component.is_some() && trigger.group.is_some());
    assert!(all.limits.cpu.is_some() && all.cache.loader.is_some());
    let sections = ["grants", "limits", "cache", "health"].map(|section| format!("name = \"a\"\n[{section}]"));
    for table in sections.iter().map(String::as_str).chain(["name = \"a\"", short]) {
        assert_all_named(block, &Manifest::parse(&format!("{table}\nno-such-key = 1")).unwrap_err().to_string());
    }
}

#[test]
fn a_queue_trigger_has_every_key_with_its_default() {
    let block = block("# plugin.toml: a queue trigger");
    let short = "name = \"mailer\"\n[[trigger]]\ntype = \"queue\"\nqueue = \"mail\"\n";
    assert_eq!(Manifest::parse(block), Manifest::parse(short));
    let all = Manifest::parse(&with_optional_keys(block)).unwrap();
    let Trigger::Queue(trigger) = &all.triggers[0] else { panic!("a queue trigger") };
    assert_eq!(trigger.rate, Some(100));
    assert_all_named(block, &Manifest::parse(&format!("{short}\nno-such-key = 1")).unwrap_err().to_string());
}

#[test]
fn the_other_examples_are_accepted() {
    assert!(blocks("# sandbar.toml").into_iter().all(|block| Config::parse(block).is_ok()));
    assert!(blocks("# plugin.toml").into_iter().all(|block| Manifest::parse(block).is_ok()));
}
