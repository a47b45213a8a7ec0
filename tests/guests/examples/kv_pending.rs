//! Checks that reads through `cache` see the writes that the same call made before them.
//!
//! Any event. Grants: write `pending:*`, `passed`.

use sandbar_sdk::prelude::*;
use sandbar_test_guests::{check, check_eq, check_error, pass};

const MINUTE: Duration = Duration::from_secs(60);

sandbar_sdk::handler!(|event: &Event| pass(event, checks));

fn checks(event: &Event) -> Result<(), Failure> {
    // Keys of this event alone: nothing is under them before, however often it is handled.
    let key = |name: &str| format!("pending:{}:{}:{name}", event.id, event.attempt);
    values(&key("value"))?;
    conditions(&key("condition"))?;
    sums(&key("sum"))?;
    expiry(&key("expiry"))?;
    many(&key("many"))?;
    increments(&key("increment"))
}

fn values(key: &str) -> Result<(), Failure> {
    check_eq!(cache::get(key)?, None);
    check!(matches!(cache::ttl(key)?, Remaining::Missing));
    cache::set(key, "one", Expiry::Never)?;
    check_eq!(cache::get(key)?.as_deref(), Some(b"one".as_slice()));
    check_eq!(cache::get_for_update(key)?.as_deref(), Some(b"one".as_slice()));
    cache::set(key, [0, 255, 10], Expiry::Never)?;
    check_eq!(cache::get(key)?.as_deref(), Some([0, 255, 10].as_slice()));
    cache::set(key, "", Expiry::Never)?;
    check_eq!(cache::get(key)?.as_deref(), Some(b"".as_slice()));
    cache::delete(key)?;
    check_eq!(cache::get(key)?, None);
    cache::set(key, "again", Expiry::Never)?;
    check_eq!(cache::get(key)?.as_deref(), Some(b"again".as_slice()));
    Ok(())
}

fn conditions(key: &str) -> Result<(), Failure> {
    cache::set_if(key, "present", Expiry::Never, Condition::IfPresent)?;
    check_eq!(cache::get(key)?, None);
    cache::set_if(key, "absent", Expiry::Never, Condition::IfAbsent)?;
    check_eq!(cache::get(key)?.as_deref(), Some(b"absent".as_slice()));
    cache::set_if(key, "absent again", Expiry::Never, Condition::IfAbsent)?;
    check_eq!(cache::get(key)?.as_deref(), Some(b"absent".as_slice()));
    cache::set_if(key, "present", Expiry::Never, Condition::IfPresent)?;
    check_eq!(cache::get(key)?.as_deref(), Some(b"present".as_slice()));
    Ok(())
}

fn sums(key: &str) -> Result<(), Failure> {
    cache::add(key, 3)?;
    check_eq!(cache::get(key)?.as_deref(), Some(b"3".as_slice()));
    cache::add(key, -5)?;
    check_eq!(cache::get(key)?.as_deref(), Some(b"-2".as_slice()));
    cache::set(key, "10", Expiry::Never)?;
    cache::add(key, 1)?;
    check_eq!(cache::get(key)?.as_deref(), Some(b"11".as_slice()));
    cache::delete(key)?;
    cache::add(key, 7)?;
    check_eq!(cache::get(key)?.as_deref(), Some(b"7".as_slice()));
    check_error!(cache::increment(key, 1), Invalid);
    Ok(())
}

fn expiry(key: &str) -> Result<(), Failure> {
    cache::expire(key, MINUTE)?;
    check!(matches!(cache::ttl(key)?, Remaining::Missing));
    cache::set(key, "x", MINUTE)?;
    check!(matches!(cache::ttl(key)?, Remaining::Ms(59_000..=60_000)));
    cache::set(key, "y", Expiry::KeepTtl)?;
    check!(matches!(cache::ttl(key)?, Remaining::Ms(59_000..=60_000)));
    cache::expire(key, MINUTE * 2)?;
    check!(matches!(cache::ttl(key)?, Remaining::Ms(119_000..=120_000)));
    cache::set(key, "z", Expiry::Never)?;
    check!(matches!(cache::ttl(key)?, Remaining::Never));
    check_error!(cache::set(key, "z", Duration::ZERO), Invalid);
    check_error!(cache::expire(key, Duration::from_secs(366 * 24 * 3600)), Invalid);
    check_eq!(cache::get(key)?.as_deref(), Some(b"z".as_slice()));
    Ok(())
}

fn many(key: &str) -> Result<(), Failure> {
    let keys = ["a", "b", "c"].map(|name| format!("{key}:{name}"));
    let [a, b, _] = &keys;
    cache::set(a, "1", Expiry::Never)?;
    cache::add(b, 2)?;
    check_eq!(cache::get_many(&keys)?, [Some(b"1".to_vec()), Some(b"2".to_vec()), None]);
    cache::delete(a)?;
    check_eq!(cache::get_many(&keys)?, [None, Some(b"2".to_vec()), None]);
    check_error!(cache::get_many::<String>(&[]), Invalid);
    check_error!(cache::get_many(&vec![a; 1_001]), Invalid);
    Ok(())
}

fn increments(key: &str) -> Result<(), Failure> {
    let first = cache::increment(key, 1)?;
    check_eq!(cache::increment(key, 41)?, first + 41);
    check_eq!(cache::get(key)?, Some((first + 41).to_string().into_bytes()));
    check_error!(cache::increment(key, i64::MAX), Invalid);
    cache::set(key, "0", Expiry::Never)?;
    check_error!(cache::increment(key, 1), Invalid);
    Ok(())
}
