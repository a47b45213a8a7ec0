//! Sends a notification once, however many hosts see the alert, and not again for an hour.
//!
//! Alerts come from a stream. Other senders, in other languages, respect the same lock: `SET lock:alert:{fingerprint}
//! {uuid} NX EX 10` (see `wit/lock.wit`).

use sandbar_sdk::prelude::*;

/// How long the lock lives when its host dies. While the call runs the host renews it.
const TTL: Duration = Duration::from_secs(10);
/// How long a sender waits for another one.
const WAIT: Duration = Duration::from_secs(2);
/// How long an alert that was sent is not sent again.
const QUIET: Duration = Duration::from_secs(3600);

fn handle(alert: &Event) -> Result<(), Failure> {
    let fingerprint = alert.text("fingerprint")?;
    // Given back when `guard` is dropped, which means: after what is written below is committed.
    let guard = lock::acquire(&format!("lock:alert:{fingerprint}"), TTL, WAIT)?;
    let sent = format!("alert:sent:{fingerprint}");
    if cache::get(&sent)?.is_some() {
        return Ok(());
    }
    // The token only grows: the receiver can refuse a sender that was overtaken.
    let token = guard.token().to_string();
    cache::set(&sent, &token, QUIET)?;
    stream::append(
        "notifications",
        &[("fingerprint", fingerprint.as_bytes()), ("token", token.as_bytes())],
        Retention::About(10_000),
    )?;
    Ok(())
}

sandbar_sdk::handler!(handle);
