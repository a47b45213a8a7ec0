//! Every metric has a description, where it is exported, and a line in the documentation.

use std::collections::BTreeSet;

use super::{Workspace, assert_none};

const DESCRIPTIONS: &str = "host/runtime/src/telemetry/names.rs";
const REFERENCE: &str = "docs/metrics.md";

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let found =
        text.match_indices("sandbar_").filter(|(at, _)| !text[..*at].ends_with(|c: char| is_part(c) || c == ':'));
    let found = found.map(|(at, _)| text[at..].chars().take_while(|c| is_part(*c)).collect::<String>());
    let endings = ["_total", "_seconds", "_bytes", "_up", "_entries", "_rate"];
    let words = ["pending", "lag", "dead_letters", "instances", "degraded", "probation"];
    let is_metric =
        |name: &String| endings.iter().any(|end| name.ends_with(end)) || words.iter().any(|word| name[8..] == **word);
    found.filter(is_metric).collect()
}

/// The names that macros of the crate `metrics` are given, whatever they end with.
fn recorded(text: &str) -> BTreeSet<String> {
    let macros = ["counter!(", "gauge!(", "histogram!("];
    let given = macros.iter().flat_map(|name| text.split(name).skip(1));
    let literal = given.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
    literal.map(str::to_owned).collect()
}

fn violations(workspace: &Workspace) -> Vec<String> {
    let text = |path: &str| workspace.get(path).map_or("", |file| &file.text);
    let (described, documented) = (names(text(DESCRIPTIONS)), names(text(REFERENCE)));
    let mut violations = Vec::new();
    for file in workspace.below("host/", ".rs").filter(|file| file.path.contains("/src/")) {
        let mut used = names(&file.text);
        used.extend(recorded(&file.text));
        for name in used.difference(&described) {
            violations.push(format!("{}: `{name}` has no description in {DESCRIPTIONS}", file.path));
        }
    }
    violations.extend(described.difference(&documented).map(|name| format!("{REFERENCE}: `{name}` is missing")));
    violations
        .extend(documented.difference(&described).map(|name| format!("{REFERENCE}: there is no metric `{name}`")));
    violations
}

#[test]
fn metrics_are_described_and_documented() {
    assert_none(&violations(&Workspace::read()));
}

#[test]
fn an_undescribed_metric_is_found() {
    let used = Workspace::of("host/fleet/src/lib.rs", "counter!(\"sandbar_odd_total\")");
    assert_eq!(violations(&used).len(), 1);
    let odd = Workspace::of("host/fleet/src/lib.rs", "metrics::gauge!(\n    \"sandbar_oddness\", \"a\" => b)");
    assert_eq!(violations(&odd).len(), 1, "a name with a new ending");
    let described = used.and(DESCRIPTIONS, "(\"sandbar_odd_total\", \"Odd things\")");
    assert_eq!(violations(&described), ["docs/metrics.md: `sandbar_odd_total` is missing"]);
    assert_eq!(violations(&described.and(REFERENCE, "| `sandbar_odd_total{kind}` |")), [""; 0]);
    assert_eq!(violations(&Workspace::of(REFERENCE, "`sandbar_gone_total`")).len(), 1);
}
