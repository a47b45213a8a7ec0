//! Every component that is built for tests is run by a test.

use super::{Workspace, assert_none};

fn violations(workspace: &Workspace) -> Vec<String> {
    let used = |name: &str| {
        let tests = workspace.below("tests/", ".rs").filter(|file| !file.path.starts_with("tests/guests/"));
        tests.chain(workspace.below("host/", ".rs")).any(|file| file.text.contains(name))
    };
    let guests = workspace.below("tests/guests/examples/", ".rs");
    let unused = guests.filter(|file| {
        let name = file.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs").to_uppercase();
        !used(&format!("components::{name}")) && !used(&format!("components::{{{name}"))
    });
    unused.map(|file| format!("{}: no test runs it", file.path)).collect()
}

#[test]
fn every_guest_is_run() {
    assert_none(&violations(&Workspace::read()));
}

#[test]
fn an_unused_guest_is_found() {
    let guest = Workspace::of("tests/guests/examples/idle_one.rs", "");
    assert_eq!(violations(&guest), ["tests/guests/examples/idle_one.rs: no test runs it"]);
    assert_eq!(violations(&guest.and("tests/all/idle.rs", "run(components::IDLE_ONE)")), [""; 0]);
}
