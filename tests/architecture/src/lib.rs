//! The rules of `docs/architecture.md`, as tests over the files of the workspace.
//!
//! Each module has one kind of rule: a pure function from the files to its violations. One test runs it on the
//! workspace, where there must be none; another one runs it on a text that breaks the rule, where it must be found.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "all of it is tests, also the functions that they share"
)]
#![cfg(test)]

mod crates;
mod docs;
mod files;
mod guests;
mod imports;
mod metrics;
mod modules;
mod names;
mod words;

use std::fs;
use std::path::Path;

/// A file of the workspace.
#[derive(Debug, Clone)]
struct File {
    /// Its path from the root, with `/`.
    path: String,
    text: String,
}

/// The files of the workspace.
#[derive(Debug, Clone, Default)]
struct Workspace(Vec<File>);

impl Workspace {
    /// All files that are read by people, but those that others wrote (`wit/deps`) and recorded ones.
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut files = Vec::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                if path.is_dir() {
                    if !is_foreign(&name) {
                        folders.push(path);
                    }
                } else if is_read(&path) {
                    files.push(File { text: fs::read_to_string(&path).unwrap(), path: name });
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self(files)
    }

    /// A workspace of one file, for tests of the rules.
    fn of(path: &str, text: &str) -> Self {
        Self(vec![File { path: path.to_owned(), text: text.to_owned() }])
    }

    /// The same with one more file.
    fn and(mut self, path: &str, text: &str) -> Self {
        self.0.push(File { path: path.to_owned(), text: text.to_owned() });
        self
    }

    /// Files below a folder whose names end like this.
    fn below<'a>(&'a self, folder: &'a str, end: &'a str) -> impl Iterator<Item = &'a File> {
        self.0.iter().filter(move |file| file.path.starts_with(folder) && file.path.ends_with(end))
    }

    fn get(&self, path: &str) -> Option<&File> {
        self.0.iter().find(|file| file.path == path)
    }
}

/// Folders that are not ours to check.
fn is_foreign(name: &str) -> bool {
    matches!(name, "target" | ".git" | "wit/deps" | "tests/all/snapshots" | "tests/fuzz/target" | "tests/fuzz/corpus")
        || name.ends_with("/target")
        || name.ends_with("/proptest-regressions")
        || name.ends_with("/node_modules")
}

/// Files that people read.
fn is_read(path: &Path) -> bool {
    let ends = ["rs", "md", "toml", "wit", "lua", "yml", "jsonl"];
    let is_script = path.ends_with("tests/run") || path.ends_with(".ci/run");
    is_script || path.extension().is_some_and(|extension| ends.iter().any(|end| extension == *end))
}

/// The code of a file without its unit tests, comments and texts: comments become nothing, texts become `""`.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
            code.push('\n');
        } else if let Some(end) = raw_text(rest) {
            code.push_str("\"\"");
            rest = &rest[end..];
        } else if first == '"' {
            let end = plain_text(rest);
            code.push_str("\"\"");
            rest = &rest[end..];
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\''") {
            code.push_str("' '");
            rest = &rest[if rest.starts_with("'\"'") { 3 } else { 4 }..];
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    code
}

/// Where a raw text ends that begins here.
fn raw_text(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix("r")?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let begin = 1 + hashes + 1;
    rest[begin..].find(&end).map(|at| begin + at + end.len())
}

/// Where a text ends that begins here.
fn plain_text(rest: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Fails with all violations.
fn assert_none(violations: &[String]) {
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

#[test]
fn code_has_no_comments_texts_or_tests() {
    let text = "a(); // b()\nlet c = \"d\\\"e\"; let f = r#\"g\"h\"#;\n#[cfg(test)]\nmod tests {}";
    assert_eq!(code(text), "a(); \nlet c = \"\"; let f = \"\";\n");
}
