//! The shape of source files: their length, their first line, their last part, the width of comments.

use super::{Workspace, assert_none};

/// The most lines of a source file.
const LINES_MAX: usize = 400;
/// The most columns of a line that is a comment.
const COMMENT_COLUMNS_MAX: usize = 120;

fn violations(workspace: &Workspace) -> Vec<String> {
    let mut violations = Vec::new();
    for file in workspace.0.iter().filter(|file| file.path.ends_with(".rs")) {
        let lines = file.text.lines().count();
        if lines > LINES_MAX {
            violations.push(format!("{}: {lines} lines; at most {LINES_MAX} are allowed", file.path));
        }
        if !file.text.starts_with("//!") {
            violations.push(format!("{}: does not begin with what it is (`//!`)", file.path));
        }
        if after_tests(&file.text).is_some_and(|after| !after.trim().is_empty()) {
            violations.push(format!("{}: has code after its unit tests, which no rule would read", file.path));
        }
        for (at, line) in file.text.lines().enumerate() {
            let columns = line.chars().count();
            if line.trim_start().starts_with("//") && columns > COMMENT_COLUMNS_MAX {
                violations.push(format!("{}:{}: a comment of {columns} columns", file.path, at + 1));
            }
        }
    }
    violations
}

/// What comes after the unit tests of a file. The other rules read only what is before them.
fn after_tests(text: &str) -> Option<&str> {
    let (_, tests) = text.split_once("\n#[cfg(test)]\nmod tests")?;
    match tests.strip_prefix(';') {
        Some(after) => Some(after),
        None => tests.split_once("\n}\n").map(|(_, after)| after),
    }
}

#[test]
fn files_are_short_and_say_what_they_are() {
    assert_none(&violations(&Workspace::read()));
}

#[test]
fn long_files_wide_comments_and_silent_files_are_found() {
    let found = |text: &str| violations(&Workspace::of("host/core/src/lib.rs", text)).len();
    assert_eq!(found("//! Says it.\n"), 0);
    assert_eq!(found("fn f() {}\n"), 1);
    assert_eq!(found(&format!("//! Says it.\n{}", "\n".repeat(LINES_MAX))), 1);
    assert_eq!(found(&format!("//! Says it.\n// {}\n", "x".repeat(COMMENT_COLUMNS_MAX))), 1);
    let tests = "//! Says it.\n#[cfg(test)]\nmod tests {\n    fn g() {}\n}\n";
    assert_eq!((found(tests), found(&format!("{tests}fn f() {{}}\n"))), (0, 1));
    let file = "//! Says it.\n#[cfg(test)]\nmod tests;\n";
    assert_eq!((found(file), found(&format!("{file}fn f() {{}}\n"))), (0, 1));
}
