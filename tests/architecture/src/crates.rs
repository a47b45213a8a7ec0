//! Which crates may depend on which.

use super::{Workspace, assert_none};

/// The crates of the host, each with those that it may depend on.
const ALLOWED: [(&str, &[&str]); 7] = [
    ("core", &[]),
    ("store", &["core"]),
    ("runtime", &["store", "core"]),
    ("triggers", &["runtime", "store", "core"]),
    ("fleet", &["runtime", "store", "core"]),
    ("server", &["triggers", "fleet", "runtime", "store", "core"]),
    ("cli", &["server", "triggers", "fleet", "runtime", "store", "core"]),
];
/// What tests of every crate may use beside that.
const HARNESS: &str = "sandbar-test-harness";

fn violations(workspace: &Workspace) -> Vec<String> {
    let mut violations = Vec::new();
    for file in workspace.below("host/", "/Cargo.toml") {
        let folder = file.path.trim_start_matches("host/").trim_end_matches("/Cargo.toml");
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == folder) else {
            violations.push(format!("{}: `{folder}` is not a crate of docs/architecture.md", file.path));
            continue;
        };
        let manifest: toml::Table = file.text.parse().unwrap();
        let targets = manifest.get("target").and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::values);
        let tables: Vec<&toml::Table> =
            targets.filter_map(toml::Value::as_table).chain(std::iter::once(&manifest)).collect();
        let sections = [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)];
        for (table, (section, harness)) in tables.iter().flat_map(|table| sections.map(|section| (table, section))) {
            let Some(toml::Value::Table(dependencies)) = table.get(section) else { continue };
            // A dependency may have a name here other than that of its package.
            let packages = dependencies.iter().map(|(name, entry)| match entry.get("package") {
                Some(toml::Value::String(package)) => package,
                _ => name,
            });
            for name in packages.filter(|name| name.starts_with("sandbar-")) {
                let is_allowed = allowed.contains(&name.trim_start_matches("sandbar-")) || (harness && name == HARNESS);
                if !is_allowed {
                    violations.push(format!("{}: `{folder}` must not depend on `{name}`", file.path));
                }
            }
        }
    }
    violations
}

#[test]
fn crates_depend_downwards() {
    assert_none(&violations(&Workspace::read()));
}

#[test]
fn an_upward_dependency_is_found() {
    let manifest = "[dependencies]\nsandbar-core.workspace = true\nsandbar-runtime.workspace = true\n";
    let found = violations(&Workspace::of("host/store/Cargo.toml", manifest));
    assert_eq!(found, ["host/store/Cargo.toml: `store` must not depend on `sandbar-runtime`"]);
    let dev = "[dev-dependencies]\nsandbar-test-harness.workspace = true\nsandbar-server.workspace = true\n";
    assert_eq!(violations(&Workspace::of("host/core/Cargo.toml", dev)).len(), 1);
    assert_eq!(violations(&Workspace::of("host/new/Cargo.toml", "")).len(), 1);
    let hidden = [
        "[dependencies]\ninner = { package = \"sandbar-server\", path = \"../server\" }",
        "[target.'cfg(unix)'.dependencies]\nsandbar-server.workspace = true",
    ];
    for manifest in hidden {
        assert_eq!(violations(&Workspace::of("host/core/Cargo.toml", manifest)).len(), 1, "{manifest}");
    }
}
