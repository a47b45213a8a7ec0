//! Checks every function of `stream` over two events, each in a batch of its own.
//!
//! Field: `do`, which is `write`, then `read`. Batches of 1; both events are in the stream before the first is
//! handled. Grants: write `log`, `exact`, `about`, `young`, `passed` and the stream that the events come from. The
//! keys are missing at first.

use sandbar_sdk::prelude::*;
use sandbar_test_guests::{check, check_eq, check_error, pass, unknown};

sandbar_sdk::handler!(|event: &Event| pass(event, checks));

fn checks(event: &Event) -> Result<(), Failure> {
    match event.text("do")? {
        "write" => write(event),
        "read" => read(),
        what => Err(unknown(what)),
    }
}

fn write(event: &Event) -> Result<(), Failure> {
    check_eq!(stream::length("log")?, 0);
    check!(stream::info("log")?.is_none());
    check!(stream::range("log", "-", "+", 10)?.is_empty());
    check_eq!(stream::trim("log", Retention::Exactly(1), false)?, 0);
    for value in ["1", "2", "3", "4"] {
        stream::append("log", &[("n", value), ("twice", value), ("twice", value)], Retention::Unlimited)?;
        stream::append("exact", &[("n", value)], Retention::Exactly(2))?;
        stream::append("about", &[("n", value)], Retention::About(2))?;
        stream::append("young", &[("n", value)], Retention::MinId("0-1"))?;
    }
    // In the commit, so it is not there yet.
    check_eq!(stream::length("log")?, 0);
    check_error!(stream::append::<&str>("log", &[], Retention::Unlimited), Invalid);
    check_error!(stream::append("log", &[("n", "x")], Retention::MinId("not an id")), Invalid);
    check_error!(stream::range("log", "not an id", "+", 1), Invalid);
    check_error!(stream::range("log", "-", "+", 0), Invalid);
    check_error!(stream::trim("log", Retention::Unlimited, false), Invalid);

    // This event is pending and the next one unread: neither may go.
    check!(stream::length(&event.source)? >= 2);
    stream::trim(&event.source, Retention::Exactly(1), true)?;
    let own = stream::range(&event.source, &event.id, &event.id, 1)?;
    check_eq!(own.len(), 1);
    check!(stream::length(&event.source)? >= 2);
    Ok(())
}

fn read() -> Result<(), Failure> {
    check_eq!(stream::length("log")?, 4);
    check_eq!(stream::length("exact")?, 2);
    check!(stream::length("about")? >= 2);
    check_eq!(stream::length("young")?, 4);

    let entries = stream::range("log", "-", "+", 10)?;
    check_eq!(numbers(&entries), ["1", "2", "3", "4"]);
    check_eq!(numbers(&stream::range("log", "-", "+", 2)?), ["1", "2"]);
    check_eq!(numbers(&stream::rev_range("log", "+", "-", 3)?), ["4", "3", "2"]);
    check_eq!(numbers(&stream::range("exact", "-", "+", 10)?), ["3", "4"]);
    let [first, .., last] = entries.as_slice() else { return Err(Failure::reject("there are four entries")) };
    let names: Vec<_> = first.fields.iter().map(|field| field.name.as_str()).collect();
    check_eq!(names, ["n", "twice", "twice"]);
    check_eq!(numbers(&stream::range("log", &format!("({}", first.id), "+", 10)?), ["2", "3", "4"]);
    check_eq!(numbers(&stream::range("log", &last.id, &last.id, 10)?), ["4"]);

    let Some(info) = stream::info("log")? else { return Err(Failure::reject("the stream exists")) };
    check_eq!((info.length, info.groups.len()), (4, 0));
    check_eq!((info.first_id.as_ref(), info.last_id.as_ref()), (Some(&first.id), Some(&last.id)));
    check!(info.memory_bytes > 0);

    // At once, so it shows.
    check_eq!(stream::trim("log", Retention::MinId(&last.id), false)?, 3);
    check_eq!(stream::length("log")?, 1);
    check_eq!(stream::trim("exact", Retention::Exactly(1), true)?, 1);
    check_eq!(numbers(&stream::range("exact", "-", "+", 10)?), ["4"]);
    Ok(())
}

fn numbers(entries: &[stream::Entry]) -> Vec<&str> {
    entries
        .iter()
        .filter_map(|entry| entry.fields.iter().find(|field| field.name == "n"))
        .map(|field| std::str::from_utf8(&field.value).unwrap_or("not UTF-8"))
        .collect()
}
