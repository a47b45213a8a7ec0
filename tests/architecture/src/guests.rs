//! Every component that is built for tests is run by a test.

use super::{Workspace, assert_none, code};

fn violations(workspace: &Workspace) -> Vec<String> {
    let is_test =
        |path: &str| !["tests/guests/", "tests/src/components.rs"].iter().any(|other| path.starts_with(other));
    let tests: Vec<String> =
        workspace.below("tests/", ".rs").filter(|file| is_test(&file.path)).map(|file| code(&file.text)).collect();
    // Whole names only, so that `STREAM` is not taken for run where `STREAM_ALL` is.
    let used = |name: &str| tests.iter().any(|code| code.split(|c| !is_part(c)).any(|word| word == name));
    let guests = workspace.below("tests/guests/examples/", ".rs");
    let unused = guests.filter(|file| {
        let name = file.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs").to_uppercase();
        !used(&name)
    });
    unused.map(|file| format!("{}: no test runs it", file.path)).collect()
}

/// Whether a character belongs to a name.
fn is_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[test]
fn every_guest_is_run() {
    assert_none(&violations(&Workspace::read()));
}

#[test]
fn an_unused_guest_is_found() {
    let guest = Workspace::of("tests/guests/examples/idle_one.rs", "");
    assert_eq!(violations(&guest), ["tests/guests/examples/idle_one.rs: no test runs it"]);
    let run = |text: &str| violations(&guest.clone().and("tests/all/idle.rs", text)).len();
    assert_eq!(run("run(components::IDLE_ONE)"), 0);
    assert_eq!(run("use sandbar_tests::components::{A, IDLE_ONE};"), 0);
    assert_eq!(run("run(components::IDLE_ONE_MORE)"), 1);
    assert_eq!(run("// components::IDLE_ONE"), 1);
}
