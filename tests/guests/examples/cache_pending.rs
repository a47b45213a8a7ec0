//! Checks that `cache::fetch` sees the writes that the same call made before it, and refuses what is out of bounds.
//!
//! Any event. There is no loader. Grants: write `pending:*`, `passed`.

use sandbar_sdk::cache::Policy;
use sandbar_sdk::prelude::*;
use sandbar_test_guests::{check_eq, check_error, pass};

const MINUTE: Duration = Duration::from_secs(60);

sandbar_sdk::handler!(|event: &Event| pass(event, checks));

fn checks(event: &Event) -> Result<(), Failure> {
    let policy = Policy::new(MINUTE).memory(MINUTE).stale_on_error(MINUTE);
    // A key of this event alone: nothing is under it before, however often it is handled.
    let key = &format!("pending:{}:{}", event.id, event.attempt);
    check_eq!(cache::fetch(key, &policy)?, None);
    cache::set(key, "one", Expiry::Never)?;
    check_eq!(cache::fetch(key, &policy)?, Some(b"one".to_vec()));
    cache::delete(key)?;
    check_eq!(cache::fetch(key, &policy)?, None);
    cache::add(key, 7)?;
    check_eq!(cache::fetch(key, &policy)?, Some(b"7".to_vec()));

    let counter = &format!("{key}:counter");
    cache::increment(counter, 1)?;
    check_eq!(cache::fetch(counter, &policy)?, Some(b"1".to_vec()));
    cache::increment(counter, 1)?;
    check_eq!(cache::fetch(counter, &policy)?, Some(b"2".to_vec()));
    cache::add(counter, 40)?;
    check_eq!(cache::fetch(counter, &policy)?, Some(b"42".to_vec()));

    let set = &format!("{key}:set");
    collections::set_add(set, &["member"])?;
    check_error!(cache::fetch(set, &policy), WrongType);
    transaction::commit()?;
    check_error!(cache::fetch(set, &policy), WrongType);
    check_eq!(cache::fetch(key, &policy)?, Some(b"7".to_vec()));

    check_error!(cache::fetch(key, &Policy::new(Duration::ZERO)), Invalid);
    check_error!(cache::fetch(key, &policy.jitter(51)), Invalid);
    check_error!(cache::fetch(key, &policy.memory(MINUTE * 60 * 24 * 366)), Invalid);
    check_error!(cache::fetch("elsewhere", &policy), Denied);
    Ok(())
}
