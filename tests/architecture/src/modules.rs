//! Modules of a crate form an acyclic graph, and those of the runtime obey an order.
//!
//! An edge goes from a file to another file of the crate whose module it names: in `use crate::…` and `use super::…`,
//! or in a path `crate::…` or `super::…` in its code; each member of a group counts. A child that names an item of its
//! parent has an edge to the parent. What a parent names of the modules inside itself is not counted, whether it
//! declares, re-exports or uses it: a file and its folder may be one unit. Nor are the root of a crate and unit tests.

use std::collections::{BTreeMap, BTreeSet};

use super::imports::leaves;
use super::{File, Workspace, assert_none, code};

/// The modules of the runtime, the lowest first. A module may name those above it in this list, not those below.
const RUNTIME: [&str; 20] = [
    "telemetry",
    "body",
    "protocol",
    "scheduling",
    "outgoing",
    "outage",
    "call",
    "tiered_cache",
    "context",
    "commit",
    "bindings",
    "outcome",
    "replay",
    "guest",
    "engine",
    "plugin",
    "pool",
    "dry_run",
    "rollout",
    "plugin_loader",
];
const CRATES: [&str; 7] = ["core", "store", "runtime", "triggers", "fleet", "server", "cli"];

/// The module of a file, such as `redis::commit`; empty for the root.
fn module(crate_name: &str, file: &File) -> String {
    let path = file.path.trim_start_matches(&format!("host/{crate_name}/src/")).trim_end_matches(".rs");
    if matches!(path, "lib" | "main") { String::new() } else { path.replace('/', "::") }
}

/// The modules that a file names, longest path first.
fn named(module: &str, code: &str, all: &BTreeSet<String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let parent = |module: &str| module.rsplit_once("::").map_or(String::new(), |(parent, _)| parent.to_owned());
    for (begin, _) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        let is_inside =
            code[..begin].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':');
        if is_inside || code[..begin].ends_with("pub(in ") {
            continue;
        }
        let statement = &code[begin..];
        let end = statement.find(';').unwrap_or(statement.len());
        let (mut base, mut rest) = (String::new(), &statement[..end]);
        if let Some(after) = rest.strip_prefix("crate::") {
            rest = after;
        } else {
            base = module.to_owned();
            while let Some(after) = rest.strip_prefix("super::") {
                base = parent(&base);
                rest = after;
            }
        }
        // The whole tree of an import; of a path in an expression, only the path.
        let is_import = code[..begin].ends_with("use ");
        let heads = if is_import { leaves(rest) } else { vec![rest.to_owned()] };
        for head in heads {
            let mut path = base.clone();
            for segment in head.split("::") {
                let name: String = segment.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let next = if path.is_empty() { name.clone() } else { format!("{path}::{name}") };
                if name.is_empty() || !all.contains(&next) {
                    break;
                }
                path = next;
            }
            if path != module && (!path.is_empty() || !base.is_empty()) {
                found.insert(path);
            }
        }
    }
    found
}

/// The graph of a crate: each module with those that it names. A parent does not depend on its own children.
fn graph(crate_name: &str, workspace: &Workspace) -> BTreeMap<String, BTreeSet<String>> {
    let folder = format!("host/{crate_name}/src/");
    let files: Vec<&File> = workspace.below(&folder, ".rs").filter(|file| !file.path.contains("/tests")).collect();
    let all: BTreeSet<String> = files.iter().map(|file| module(crate_name, file)).collect();
    let edges = files.iter().map(|file| {
        let from = module(crate_name, file);
        let is_child = |to: &String| from.is_empty() || to.starts_with(&format!("{from}::"));
        let to = named(&from, &code(&file.text), &all);
        (from.clone(), to.into_iter().filter(|to| !is_child(to) && !to.is_empty()).collect())
    });
    edges.collect()
}

/// A circle of modules, if there is one.
fn circle(graph: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn visit<'a>(
        at: &'a str,
        graph: &'a BTreeMap<String, BTreeSet<String>>,
        path: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<String>> {
        if let Some(begin) = path.iter().position(|seen| *seen == at) {
            return Some(path[begin..].iter().map(|name| (*name).to_owned()).collect());
        }
        if !done.contains(at) {
            path.push(at);
            for next in graph.get(at).into_iter().flatten() {
                if let Some(found) = visit(next, graph, path, done) {
                    return Some(found);
                }
            }
            path.pop();
            done.insert(at);
        }
        None
    }
    let mut done = BTreeSet::new();
    graph.keys().find_map(|at| visit(at, graph, &mut Vec::new(), &mut done))
}

fn circles(workspace: &Workspace) -> Vec<String> {
    let mut violations = Vec::new();
    for crate_name in CRATES {
        let mut graph = graph(crate_name, workspace);
        // Each circle that is found is cut at its first edge, so that the next one is found too.
        while let Some(found) = circle(&graph) {
            violations.push(format!("host/{crate_name}: {} -> {}", found.join(" -> "), found[0]));
            let next = found.get(1).unwrap_or(&found[0]).clone();
            graph.get_mut(&found[0]).unwrap().remove(&next);
        }
    }
    violations
}

/// The place of a module in the order of the runtime.
fn rank(module: &str) -> Option<usize> {
    let name = match module {
        "replay::dry_run" | "replay::difference" => "dry_run",
        module => module.split("::").next().unwrap_or_default(),
    };
    RUNTIME.iter().position(|known| *known == name)
}

fn out_of_order(workspace: &Workspace) -> Vec<String> {
    let mut violations = Vec::new();
    for (from, names) in graph("runtime", workspace) {
        if from.is_empty() {
            continue;
        }
        let Some(own) = rank(&from) else {
            violations.push(format!("host/runtime: `{from}` has no place in the order of modules"));
            continue;
        };
        for to in names.iter().filter(|to| rank(to).is_some_and(|rank| rank > own)) {
            violations.push(format!("host/runtime: `{from}` names `{to}`, which is above it"));
        }
    }
    violations
}

#[test]
fn modules_have_no_circles() {
    assert_none(&circles(&Workspace::read()));
}

#[test]
fn the_modules_of_the_runtime_obey_their_order() {
    assert_none(&out_of_order(&Workspace::read()));
}

#[test]
fn a_circle_is_found() {
    let workspace = Workspace::of("host/core/src/lib.rs", "mod a;\nmod b;\npub use a::A;")
        .and("host/core/src/a.rs", "mod c;\npub use c::C;\nuse crate::b::B;")
        .and("host/core/src/b.rs", "use super::a::c::C;")
        .and("host/core/src/a/c.rs", "use super::super::b::B;");
    assert_eq!(circles(&workspace).len(), 1, "{:?}", circles(&workspace));
    let inline = Workspace::of("host/core/src/a.rs", "fn f() { crate::b::g() }")
        .and("host/core/src/b.rs", "use crate::a::{C, D};");
    assert_eq!(circles(&inline).len(), 1);
    let grouped = Workspace::of("host/core/src/a.rs", "use crate::{c::{D, E}, b::f};")
        .and("host/core/src/b.rs", "use crate::a::C;")
        .and("host/core/src/c.rs", "");
    assert_eq!(circles(&grouped).len(), 1);
    let nested = Workspace::of("host/core/src/a.rs", "use crate::b::{c, D};")
        .and("host/core/src/b.rs", "")
        .and("host/core/src/b/c.rs", "use crate::a::E;");
    assert_eq!(circles(&nested).len(), 1, "a file in a group is named");
    let commented =
        Workspace::of("host/core/src/a.rs", "// crate::b::g()").and("host/core/src/b.rs", "use crate::a::C;");
    assert_eq!(circles(&commented), [""; 0]);
}

#[test]
fn an_upward_edge_is_found() {
    let workspace =
        Workspace::of("host/runtime/src/call.rs", "use crate::pool::Pool;").and("host/runtime/src/pool.rs", "");
    assert_eq!(out_of_order(&workspace).len(), 1);
    assert_eq!(out_of_order(&Workspace::of("host/runtime/src/novel.rs", "")).len(), 1);
}
