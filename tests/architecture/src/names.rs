//! Who may name what: crates, and ways to the world outside.

use super::imports::{leaves, trees};
use super::{Workspace, assert_none, code};

/// A name, the files of the host that may have it, and why only these.
struct Rule {
    name: &'static str,
    allowed: &'static [&'static str],
    reason: &'static str,
}

const RULES: [Rule; 11] = [
    Rule {
        name: "redis::",
        allowed: &["host/store/src/redis", "host/store/src/lib.rs"],
        reason: "one store knows Redis",
    },
    Rule {
        name: "wasmtime::Config",
        allowed: &["host/runtime/src/engine.rs"],
        reason: "the engine has one configuration",
    },
    Rule { name: "bindgen!", allowed: &["host/runtime/src/bindings.rs"], reason: "generated code stands alone" },
    Rule {
        name: "env::",
        allowed: &["host/server/src/machine.rs", "host/cli/src/"],
        reason: "the environment is read where secrets are resolved, and by the program",
    },
    Rule {
        name: "fs::",
        allowed: &[
            // Secrets in files.
            "host/server/src/machine.rs",
            // Manifests and components in folders.
            "host/server/src/host/",
            // Compiled code.
            "host/runtime/src/engine/cache.rs",
            // Authorities for TLS.
            "host/store/src/redis/connector.rs",
            "host/runtime/src/outgoing.rs",
            "host/cli/src/",
        ],
        reason: "each file that the host reads or writes has one place",
    },
    Rule { name: "println!", allowed: &["host/cli/src/screen.rs"], reason: "one module prints" },
    Rule { name: "eprintln!", allowed: &["host/cli/src/screen.rs"], reason: "one module prints" },
    Rule { name: "print!", allowed: &["host/cli/src/screen.rs"], reason: "one module prints" },
    Rule { name: "eprint!", allowed: &["host/cli/src/screen.rs"], reason: "one module prints" },
    Rule {
        name: "process::exit",
        allowed: &["host/cli/src/main.rs", "host/cli/src/exit.rs", "host/cli/src/signals.rs"],
        reason: "only the program ends the process, at its end or at a second signal",
    },
    Rule {
        name: "unsafe ",
        allowed: &["host/runtime/src/engine/cache.rs"],
        reason: "wasmtime demands it to load compiled code",
    },
];

fn violations(workspace: &Workspace) -> Vec<String> {
    let mut violations = Vec::new();
    for file in
        workspace.below("host/", ".rs").filter(|file| file.path.contains("/src/") && !file.path.contains("/tests"))
    {
        let mut code = code(&file.text);
        let imported: Vec<String> = trees(&code).flat_map(leaves).collect();
        // `use wasmtime::{Config, …}` and `use std::env as e` name what they import.
        code.extend(imported.iter().map(|path| format!("\n{path}::")));
        for rule in &RULES {
            let is_named = code.match_indices(rule.name).any(|(at, _)| {
                let before = &code[..at];
                let is_own_module =
                    rule.name == "redis::" && (before.ends_with("crate::") || before.ends_with("super::"));
                !is_own_module && !before.ends_with(|before: char| before.is_alphanumeric() || before == '_')
            });
            if is_named && !rule.allowed.iter().any(|allowed| file.path.starts_with(allowed)) {
                violations.push(format!("{}: must not name `{}`: {}", file.path, rule.name.trim(), rule.reason));
            }
        }
    }
    violations
}

#[test]
fn names_stay_where_they_belong() {
    assert_none(&violations(&Workspace::read()));
}

#[test]
fn each_name_is_found_elsewhere() {
    for rule in &RULES {
        let text = format!("fn f() {{ {}x }}", rule.name);
        let found = violations(&Workspace::of("host/fleet/src/lib.rs", &text));
        assert!(found.iter().any(|found| found.contains(rule.name.trim())), "{}: {found:?}", rule.name);
        let allowed = if rule.allowed[0].ends_with(".rs") {
            rule.allowed[0].to_owned()
        } else {
            format!("{}/x.rs", rule.allowed[0])
        };
        assert_eq!(
            violations(&Workspace::of(&allowed, &text)).iter().filter(|found| found.contains(rule.name.trim())).count(),
            0
        );
    }
    for import in ["use wasmtime::{Config, Engine};", "use std::{env as e, fmt};", "use std::fs;", "pub use redis;"] {
        assert_eq!(violations(&Workspace::of("host/fleet/src/lib.rs", import)).len(), 1, "{import}");
    }
    assert_eq!(violations(&Workspace::of("host/fleet/src/lib.rs", "use std::fmt;")), [""; 0]);
    assert_eq!(violations(&Workspace::of("host/fleet/src/lib.rs", "// println!\nlet a = \"println!\";")), [""; 0]);
}
