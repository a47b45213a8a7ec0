//! Words that the project does not use: private metaphors that once stood for terms of the field, and phrases that
//! have to be read twice.

use super::{Workspace, assert_none};

/// A word, and what is used in its place. A word with an `s` after it is the same word.
const WORDS: [(&str, &str); 29] = [
    ("desk", "admin"),
    ("lineup", "rollout"),
    ("seat", "version slot"),
    ("conduct", "health stats"),
    ("condemned", "failed probation"),
    ("condemn", "fail probation"),
    ("tape", "recording"),
    ("taped", "recorded"),
    ("reel", "recorder"),
    ("deck", "recorder slot"),
    ("rehearsal", "dry run"),
    ("rehearse", "dry run"),
    ("behalf", "commit scope"),
    ("tiers", "tiered cache"),
    ("flights", "in-flight loads"),
    ("handful", "leased batch"),
    ("lane", "priority"),
    ("fatigue", "duty cycle"),
    ("resting", "idle LRU"),
    ("hammer", "fuzz tests"),
    ("overlay", "pending writes"),
    ("relied on", "watched"),
    ("left out", "skipped, dropped"),
    ("whoever", "the caller, the client that"),
    ("is told", "is answered, learns"),
    ("runs behind", "is demoted, runs in the background"),
    ("gives way", "yields"),
    ("in one journey", "in one round trip"),
    ("something else than", "other than"),
];

/// Places where such a word stays: a part of the path, the text around it, and why.
const ALLOWED: [(&str, &str, &str); 13] = [
    ("CHANGELOG.md", "_left_out_total", "the table of renamed metrics"),
    ("CHANGELOG.md", "_condemned_total", "the table of renamed metrics"),
    ("docs/operations/upgrades.md", "_condemned_total", "an expression for both names of a metric"),
    ("CHANGELOG.md", "sandbar_tapes", "the table of renamed metrics"),
    ("", "sandbar:tape:", "a key in Redis, which keeps its name"),
    ("host/triggers/src/batch/recording.rs", "= \"tape\"", "a field in Redis, which keeps its name"),
    ("host/fleet/src/record.rs", "rename = \"condemned\"", "a member of the fleet's records, which keeps its name"),
    ("host/runtime/src/rollout/shadow.rs", "rename = \"left-out\"", "a member of the API, which keeps its name"),
    ("host/triggers/src/schedule/record.rs", "rename = \"left_out\"", "a member of the API, which keeps its name"),
    ("tests/all/cli/schedules.rs", "left_out", "a member of the API, which keeps its name"),
    ("tests/all/fuzz/records.rs", "left_out", "a member of the API, which keeps its name"),
    ("docs/http.md", "left", "members of the API, which keep their names"),
    ("docs/plugins.md", "three tiers", "the field's word for the levels of a cache"),
];

/// Words of a line in lower case; parts of names count as words.
fn normal(line: &str) -> String {
    let mut text = String::with_capacity(line.len() + 2);
    text.push(' ');
    let mut was_lower = false;
    for c in line.chars() {
        if c.is_uppercase() && was_lower {
            text.push(' ');
        }
        was_lower = c.is_lowercase();
        text.extend(if c.is_alphanumeric() { c.to_lowercase().next() } else { Some(' ') });
    }
    text.push(' ');
    text.split_whitespace().fold(String::from(" "), |text, word| text + word + " ")
}

/// Whether a word or phrase begins in a line. A phrase may end in the next one, as in a comment of two lines.
fn begins_in(line: &str, next: &str, word: &str) -> bool {
    let word = [format!(" {word} "), format!(" {word}s ")];
    let both = format!("{}{next}", line.trim_end());
    word.iter().any(|word| line.contains(word) || (both.contains(word) && !next.contains(word)))
}

fn violations(workspace: &Workspace) -> Vec<String> {
    let mut violations = Vec::new();
    let ours =
        |path: &str| !path.starts_with("wit/") && !path.starts_with("tests/architecture/") && path != "Cargo.lock";
    for file in workspace.0.iter().filter(|file| ours(&file.path)) {
        let mut lines = file.text.lines().map(|line| (line, normal(line))).enumerate().peekable();
        while let Some((at, (line, text))) = lines.next() {
            let next = lines.peek().map_or(" ", |(_, (_, next))| next.as_str());
            for (word, instead) in WORDS {
                let is_allowed = ALLOWED.iter().any(|(path, part, _)| file.path.contains(path) && line.contains(part));
                if begins_in(&text, next, word) && !is_allowed {
                    violations.push(format!("{}:{}: `{word}`; write: {instead}", file.path, at + 1));
                }
            }
            for (begin, _) in text.match_indices(" letter") {
                let rest = &text[begin + 1..];
                let is_word = rest.starts_with("letter ") || rest.starts_with("letters ");
                let is_term = text[..begin].ends_with(" dead") || text[..begin].ends_with(" case");
                let is_member = line.contains("\"letters\"");
                if is_word && !is_term && !is_member {
                    violations.push(format!("{}:{}: `letter`; write: dead letter", file.path, at + 1));
                }
            }
        }
    }
    violations
}

#[test]
fn words_are_those_of_the_field() {
    assert_none(&violations(&Workspace::read()));
}

#[test]
fn each_word_is_found() {
    for (word, _) in WORDS {
        let lines = [format!("// the {word} of it"), format!("let {} = 1;", word.replace(' ', "_"))];
        for line in lines {
            assert_eq!(violations(&Workspace::of("host/core/src/lib.rs", &line)).len(), 1, "{line}");
        }
    }
    assert_eq!(violations(&Workspace::of("docs/a.md", "a letter")).len(), 1);
    assert_eq!(
        violations(&Workspace::of("docs/a.md", "dead letters, dead-letter streams, lower-case letters")),
        [""; 0]
    );
    assert_eq!(violations(&Workspace::of("host/core/src/lib.rs", "struct VersionSeat;")).len(), 1);
    assert_eq!(violations(&Workspace::of("host/core/src/lib.rs", "let desks = 1;\nlet open_seats = 2;")).len(), 2);
    assert_eq!(violations(&Workspace::of("host/core/src/lib.rs", "// The caller is\n/// told of it.\n")).len(), 1);
    assert_eq!(violations(&Workspace::of("host/core/src/lib.rs", "// It is told.\n// It is told.")).len(), 2);
    assert_eq!(violations(&Workspace::of("docs/a.md", "the key `sandbar:tape:x`")), [""; 0]);
}
