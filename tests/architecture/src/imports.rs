//! The paths of `use` declarations, with their groups written out.

/// Each path that a tree imports: `a::{b, c::{d, e as f}}` has `a::b`, `a::c::d` and `a::c::e`. `self` is its group.
pub(super) fn leaves(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((before, rest)) = tree.split_once('{') else {
        let path = tree.split_whitespace().next().unwrap_or_default();
        return vec![path.trim_end_matches("::self").to_owned()];
    };
    let before = before.trim();
    let inside = group(rest).into_iter().flat_map(leaves);
    let joined = inside
        .map(|leaf| if leaf == "self" { before.trim_end_matches("::").to_owned() } else { before.to_owned() + &leaf });
    joined.collect()
}

/// The members of a group, whose opening brace was before this text.
fn group(text: &str) -> Vec<&str> {
    let (mut members, mut depth, mut begin) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                members.push(text[begin..at].trim());
                begin = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    members.into_iter().filter(|member| !member.is_empty()).collect()
}

/// The trees of all `use` declarations in code without comments and texts.
pub(super) fn trees(code: &str) -> impl Iterator<Item = &str> {
    let declarations = code.match_indices("use ").filter(|(at, _)| {
        code[..*at].chars().next_back().is_none_or(|before| !before.is_alphanumeric() && before != '_')
    });
    declarations.filter_map(|(at, word)| Some(code[at + word.len()..].split_once(';')?.0))
}

#[test]
fn groups_are_written_out() {
    assert_eq!(leaves("a::b"), ["a::b"]);
    assert_eq!(leaves("a::b as c"), ["a::b"]);
    assert_eq!(leaves("a::{self, b, c::{d, e as f}, g}"), ["a", "a::b", "a::c::d", "a::c::e", "a::g"]);
    assert_eq!(leaves("crate::{\n    a::{b},\n    c::D,\n}"), ["crate::a::b", "crate::c::D"]);
    assert_eq!(trees("mod x;\npub use a::{b,\nc};\nlet reuse = 1;\nuse d;").collect::<Vec<_>>(), ["a::{b,\nc}", "d"]);
}
