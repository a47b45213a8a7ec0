//! Checks the bound of values, and answers a reason that is far longer than one may be.
//!
//! Field: `do`, which is `value` or `reason`. Limits: `value-bytes` is 1 MiB, the default. Grants: write `large`,
//! `passed`; publish `large`. The event `reason` ends in the dead letters with its reason cut.

use sandbar_sdk::prelude::*;
use sandbar_test_guests::{check_error, pass, unknown};

/// The most bytes in a value.
const VALUE_BYTES_MAX: usize = 1 << 20;

sandbar_sdk::handler!(|event: &Event| pass(event, checks));

fn checks(event: &Event) -> Result<(), Failure> {
    match event.text("do")? {
        "value" => value(),
        "reason" => Err(Failure::reject("x".repeat(VALUE_BYTES_MAX))),
        what => Err(unknown(what)),
    }
}

fn value() -> Result<(), Failure> {
    let largest = vec![b'x'; VALUE_BYTES_MAX];
    cache::set("large", &largest, Expiry::Never)?;
    let larger = vec![b'x'; VALUE_BYTES_MAX + 1];
    check_error!(cache::set("large", &larger, Expiry::Never), Limit);
    check_error!(pubsub::publish("large", &larger), Limit);
    check_error!(stream::append("large", &[("x", &larger)], Retention::Unlimited), Limit);
    check_error!(collections::hash_set("large", &[("x", &larger)]), Limit);
    check_error!(collections::list_push("large", End::Back, &[&larger], None), Limit);
    Ok(())
}
