//! Checks every function of `collections` over three events, each in a batch of its own.
//!
//! Field: `do`, which is `write`, then `read`, then `gone`. Batches of 1. Grants: write `hash`, `set`, `sorted`,
//! `list`, `log`, `passed`. The keys are missing at first.

use sandbar_sdk::prelude::*;
use sandbar_test_guests::{check, check_eq, check_error, pass, unknown};

sandbar_sdk::handler!(|event: &Event| pass(event, checks));

fn checks(event: &Event) -> Result<(), Failure> {
    match event.text("do")? {
        "write" => write(),
        "read" => read().and_then(|()| remove()),
        "gone" => gone(),
        what => Err(unknown(what)),
    }
}

/// Writes to all kinds; reads do not see it, whatever is gathered.
fn write() -> Result<(), Failure> {
    collections::hash_set("hash", &[("a", b"1".as_slice()), ("b", &[0, 255])])?;
    collections::hash_add("hash", "a", 41)?;
    collections::hash_add("hash", "sum", -3)?;
    check_eq!(collections::hash_length("hash")?, 0);
    check_eq!(collections::hash_get("hash", "a")?, None);

    collections::set_add("set", &["x", "y", "z", "x"])?;
    check_eq!(collections::set_size("set")?, 0);
    check!(!collections::set_contains("set", "x")?);

    collections::sorted_add("sorted", &[("low", -1.5), ("high", 10.0), ("b", 2.0), ("a", 2.0)])?;
    check_eq!(collections::sorted_size("sorted")?, 0);
    check_error!(collections::sorted_add("sorted", &[("nan", f64::NAN)]), Invalid);

    collections::list_push("list", End::Back, &["1", "2", "3"], None)?;
    collections::list_push("list", End::Front, &["0", "-1"], None)?;
    check_eq!(collections::list_length("list")?, 0);
    // Pushed to the front one after the other, the last comes first, and the newest are kept.
    collections::list_push("log", End::Front, &["a", "b", "c", "d"], Some(3))?;

    check_error!(collections::hash_set::<&str>("hash", &[]), Invalid);
    check_error!(collections::set_add::<&str>("set", &[]), Invalid);
    check_error!(collections::sorted_add::<&str>("sorted", &[]), Invalid);
    check_error!(collections::list_push::<&str>("list", End::Back, &[], None), Invalid);
    check_error!(collections::list_push("list", End::Back, &["x"], Some(0)), Invalid);
    check_error!(collections::set_add("set", &vec!["x"; 1_001]), Invalid);
    Ok(())
}

fn read() -> Result<(), Failure> {
    check_eq!(collections::hash_get("hash", "a")?.as_deref(), Some(b"42".as_slice()));
    let many = collections::hash_get_many("hash", &["sum", "absent", "b"])?;
    check_eq!(many, [Some(b"-3".to_vec()), None, Some(vec![0, 255])]);
    let mut names: Vec<_> = collections::hash_get_all("hash")?.into_iter().map(|field| field.name).collect();
    names.sort();
    check_eq!(names, ["a", "b", "sum"]);
    check_eq!(collections::hash_length("hash")?, 3);

    let mut members = collections::set_members("set")?;
    members.sort();
    check_eq!(members, ["x", "y", "z"]);
    check_eq!(collections::set_size("set")?, 3);
    check!(collections::set_contains("set", "y")? && !collections::set_contains("set", "absent")?);

    check_eq!(collections::sorted_score("sorted", "low")?, Some(-1.5));
    check_eq!(collections::sorted_score("sorted", "absent")?, None);
    check_eq!(collections::sorted_size("sorted")?, 4);
    check_eq!(members_of(collections::sorted_range("sorted", 0, -1, false)?), ["low", "a", "b", "high"]);
    check_eq!(members_of(collections::sorted_range("sorted", 0, 1, true)?), ["high", "b"]);
    check_eq!(members_of(collections::sorted_range_by_score("sorted", 2.0, f64::INFINITY, 2)?), ["a", "b"]);
    check_eq!(members_of(collections::sorted_range_by_score("sorted", f64::NEG_INFINITY, 1.0, 10)?), ["low"]);

    check_eq!(collections::list_range("list", 0, -1)?, ["-1", "0", "1", "2", "3"].map(Vec::from));
    check_eq!(collections::list_range("list", -2, -1)?, ["2", "3"].map(Vec::from));
    check_eq!(collections::list_length("list")?, 5);
    check_eq!(collections::list_range("log", 0, -1)?, ["d", "c", "b"].map(Vec::from));

    check_error!(collections::hash_get("set", "x"), WrongType);
    check_error!(collections::set_members("list"), WrongType);
    check_error!(collections::list_length("sorted"), WrongType);
    check_error!(cache::get("hash"), WrongType);
    check_eq!(cache::get_many(&["hash"])?, [None]);
    Ok(())
}

fn remove() -> Result<(), Failure> {
    collections::hash_delete("hash", &["a", "absent"])?;
    collections::set_remove("set", &["x", "absent"])?;
    collections::sorted_remove("sorted", &["low"])?;
    collections::sorted_remove_by_score("sorted", 2.0, 2.0)?;
    collections::list_remove("list", "2")?;
    collections::list_push("list", End::Back, &["4"], Some(3))?;
    cache::delete("log")?;
    Ok(())
}

fn gone() -> Result<(), Failure> {
    check_eq!(collections::hash_length("hash")?, 2);
    check_eq!(collections::set_size("set")?, 2);
    check_eq!(members_of(collections::sorted_range("sorted", 0, -1, false)?), ["high"]);
    // Pushed to the back, the newest are those at the back.
    check_eq!(collections::list_range("list", 0, -1)?, ["1", "3", "4"].map(Vec::from));
    check_eq!(collections::list_length("log")?, 0);
    Ok(())
}

fn members_of(scored: Vec<collections::Scored>) -> Vec<String> {
    scored.into_iter().map(|scored| scored.member).collect()
}
