//! Links of the documentation lead somewhere, the book has every page, and nothing names a machine.

use super::{File, Workspace, assert_none};

/// What a committed text must not contain: paths of the machine that it was written on, and hosts of registries.
const MACHINE: [&str; 8] = [
    "/home/",
    "/work/",
    "/root/",
    "/Users/",
    "index.crates.io",
    "static.crates.io",
    "registry.npmjs.org",
    "proxy.golang.org",
];

/// The path that a relative link of a file leads to.
fn target(file: &File, link: &str) -> String {
    let mut parts: Vec<&str> = file.path.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The relative links of a page, without their anchors.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let links = links.map(|link| link.split('#').next().unwrap_or_default());
    links.filter(|link| !link.is_empty() && !link.contains("://") && !link.starts_with("mailto:"))
}

fn violations(workspace: &Workspace, is_there: impl Fn(&str) -> bool) -> Vec<String> {
    let mut violations = Vec::new();
    for file in workspace.0.iter().filter(|file| file.path.ends_with(".md")) {
        for link in links(&file.text).filter(|link| !is_there(&target(file, link))) {
            violations.push(format!("{}: `{link}` leads nowhere", file.path));
        }
    }
    if let Some(summary) = workspace.get("docs/SUMMARY.md") {
        let listed: Vec<String> = links(&summary.text).map(|link| target(summary, link)).collect();
        let pages = workspace.below("docs/", ".md").filter(|page| page.path != summary.path);
        let missing = pages.filter(|page| !listed.contains(&page.path));
        violations.extend(missing.map(|page| format!("docs/SUMMARY.md: `{}` is missing", page.path)));
    }
    for file in workspace.0.iter().filter(|file| !file.path.starts_with("tests/architecture/")) {
        for name in MACHINE.iter().filter(|name| file.text.contains(**name)) {
            violations.push(format!("{}: names `{name}`", file.path));
        }
    }
    violations
}

#[test]
fn links_lead_somewhere_and_the_book_is_complete() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    assert_none(&violations(&Workspace::read(), |path| root.join(path).exists()));
}

#[test]
fn dead_links_missing_pages_and_machines_are_found() {
    let there = |path: &str| path == "docs/a.md";
    let summary = Workspace::of("docs/SUMMARY.md", "[a](a.md)").and("docs/a.md", "[b](../b.md#c) [c](https://x.y)");
    assert_eq!(violations(&summary, there), ["docs/a.md: `../b.md` leads nowhere"]);
    let missing = Workspace::of("docs/SUMMARY.md", "").and("docs/a.md", "");
    assert_eq!(violations(&missing, there), ["docs/SUMMARY.md: `docs/a.md` is missing"]);
    for name in MACHINE {
        assert_eq!(violations(&Workspace::of("host/core/src/lib.rs", &format!("{name}ada")), there).len(), 1, "{name}");
    }
}
