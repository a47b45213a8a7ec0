//! Refusals: counted all of them, logged as long as one client does not send too many.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use metrics::counter;
use parking_lot::Mutex;

use sandbar_core::token::TokenId;

/// How many refusals of one client are logged in [`WINDOW`].
const LOGGED_MAX: u32 = 10;
/// The time in which they are counted.
const WINDOW: Duration = Duration::from_secs(10);
/// How many clients are remembered; beyond, nothing of new ones is logged until the window of others is over.
const CLIENTS_MAX: usize = 1024;
/// The most characters of a path in the log.
const PATH_CHARS_MAX: usize = 200;

/// Logs refusals.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    clients: Mutex<HashMap<Option<IpAddr>, Window>>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    began: Instant,
    count: u32,
}

/// Who asked, and for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) client: Option<IpAddr>,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
}

impl Refusals {
    /// Counts a refusal, and logs it unless the client had many of late. The token itself is not known here.
    pub(super) fn log(&self, request: Request<'_>, reason: &'static str, id: Option<&TokenId>) {
        counter!("sandbar_api_refused_total", "reason" => reason).increment(1);
        let Some(count) = self.count(request.client, Instant::now()).filter(|count| *count <= LOGGED_MAX) else {
            return;
        };
        let client = request.client.map(|client| client.to_string());
        let path: String = request.path.chars().take(PATH_CHARS_MAX).collect();
        let id = id.map_or("none", TokenId::as_str);
        let last = count == LOGGED_MAX;
        tracing::warn!(
            token = id,
            reason,
            client,
            method = request.method,
            path,
            "a request to the API was refused{}",
            if last { "; more of this client are only counted for a while" } else { "" }
        );
    }

    /// Which one of the client's in its window this is; none where too many clients are remembered.
    fn count(&self, client: Option<IpAddr>, now: Instant) -> Option<u32> {
        let mut clients = self.clients.lock();
        if clients.len() >= CLIENTS_MAX && !clients.contains_key(&client) {
            clients.retain(|_, window| now.duration_since(window.began) < WINDOW);
            if clients.len() >= CLIENTS_MAX {
                return None;
            }
        }
        let window = clients.entry(client).or_insert(Window { began: now, count: 0 });
        if now.duration_since(window.began) >= WINDOW {
            *window = Window { began: now, count: 0 };
        }
        window.count = window.count.saturating_add(1);
        Some(window.count)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn clients_are_counted_apart_and_within_bounds() {
        let refusals = Refusals::default();
        let client = |n: u32| Some(IpAddr::from(Ipv4Addr::from(n)));
        let now = Instant::now();
        assert_eq!((refusals.count(client(1), now), refusals.count(client(1), now)), (Some(1), Some(2)));
        assert_eq!(refusals.count(client(2), now), Some(1));
        assert_eq!(refusals.count(client(1), now + WINDOW), Some(1));
        for n in 0..2 * CLIENTS_MAX as u32 {
            refusals.count(client(n), now + WINDOW);
        }
        assert_eq!(refusals.clients.lock().len(), CLIENTS_MAX);
        assert_eq!(refusals.count(client(9_999_999), now + WINDOW), None);
        assert_eq!(refusals.count(client(9_999_999), now + 3 * WINDOW), Some(1), "windows that are over make room");
    }
}
