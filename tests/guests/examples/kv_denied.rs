//! Checks that only what is granted can be touched, and that names are checked.
//!
//! Field: `do`. With `scan` it looks at all keys, and everything must be granted; else the grants are: read
//! `readable:*`; write `writable:*`, `passed`; publish `open:*`.

use sandbar_sdk::prelude::*;
use sandbar_test_guests::{check, check_eq, check_error, pass};

/// The most bytes in a name.
const NAME_BYTES_MAX: usize = 1_024;

sandbar_sdk::handler!(|event: &Event| pass(event, checks));

fn checks(event: &Event) -> Result<(), Failure> {
    if event.text("do")? == "scan" {
        return scan();
    }
    reads()?;
    writes()?;
    channels()?;
    names()
}

/// The host's own keys are not among those that a pattern finds, although it matches them.
fn scan() -> Result<(), Failure> {
    let (mut keys, mut cursor) = (Vec::new(), Some(0));
    while let Some(from) = cursor {
        let mut page = cache::scan("*", from, 100)?;
        keys.append(&mut page.keys);
        cursor = page.next;
    }
    check!(keys.iter().any(|key| key == "ordinary"));
    check!(keys.iter().all(|key| !key.starts_with("sandbar:")));
    Ok(())
}

fn reads() -> Result<(), Failure> {
    check_eq!(cache::get("readable:a")?, None);
    check_eq!(cache::get("writable:a")?, None);
    cache::scan("readable:*", 0, 10)?;
    check_error!(cache::get("other:a"), Denied);
    check_error!(cache::get("readable"), Denied);
    check_error!(cache::get_many(&["readable:a", "other:a"]), Denied);
    check_error!(cache::ttl("other:a"), Denied);
    check_error!(cache::get_for_update("other:a"), Denied);
    check_error!(cache::scan("*", 0, 10), Denied);
    check_error!(cache::scan("other:*", 0, 10), Denied);
    check_error!(stream::length("other:a"), Denied);
    check_error!(stream::range("other:a", "-", "+", 1), Denied);
    check_error!(stream::info("other:a"), Denied);
    check_error!(collections::hash_get("other:a", "x"), Denied);
    check_error!(collections::set_members("other:a"), Denied);
    check_error!(collections::sorted_size("other:a"), Denied);
    check_error!(collections::list_range("other:a", 0, -1), Denied);
    check_eq!(queue::length("readable:a")?.ready, 0);
    check_error!(queue::length("other:a"), Denied);
    check_error!(queue::peek("other:a", 1), Denied);
    Ok(())
}

fn writes() -> Result<(), Failure> {
    cache::set("writable:a", "x", Expiry::Never)?;
    for key in ["other:a", "readable:a"] {
        check_error!(cache::set(key, "x", Expiry::Never), Denied);
        check_error!(cache::delete(key), Denied);
        check_error!(cache::expire(key, Duration::from_secs(1)), Denied);
        check_error!(cache::add(key, 1), Denied);
        check_error!(cache::increment(key, 1), Denied);
        check_error!(stream::append(key, &[("x", "y")], Retention::Unlimited), Denied);
        check_error!(stream::trim(key, Retention::Exactly(1), false), Denied);
        check_error!(collections::hash_set(key, &[("x", "y")]), Denied);
        check_error!(collections::set_add(key, &["x"]), Denied);
        check_error!(collections::sorted_add(key, &[("x", 1.0)]), Denied);
        check_error!(collections::list_push(key, End::Front, &["x"], None), Denied);
        check_error!(queue::push(key, "x"), Denied);
        check_error!(queue::take(key, 1), Denied);
        check_error!(lock::try_acquire(key, Duration::from_secs(1)), Denied);
    }
    Ok(())
}

fn channels() -> Result<(), Failure> {
    pubsub::publish("open:a", "x")?;
    check_eq!(pubsub::subscribers("open:nobody")?, 0);
    check_error!(pubsub::publish("closed:a", "x"), Denied);
    check_error!(pubsub::subscribers("closed:a"), Denied);
    check_error!(pubsub::publish("writable:a", "x"), Denied);
    Ok(())
}

fn names() -> Result<(), Failure> {
    let longest = format!("{:a<NAME_BYTES_MAX$}", "writable:");
    cache::set(&longest, "x", Expiry::Never)?;
    check_eq!(cache::get(&longest)?.as_deref(), Some(b"x".as_slice()));
    for name in ["", "writable:\n", "writable:\0", "writable:\u{7f}", &format!("{longest}a")] {
        check_error!(cache::get(name), Invalid);
        check_error!(cache::set(name, "x", Expiry::Never), Invalid);
        check_error!(stream::append(name, &[("x", "y")], Retention::Unlimited), Invalid);
        check_error!(collections::set_add(name, &["x"]), Invalid);
    }
    for name in ["", "open:\n", &format!("{:a<1$}", "open:", NAME_BYTES_MAX + 1)] {
        check_error!(pubsub::publish(name, "x"), Invalid);
    }
    Ok(())
}
