//! Who waits for which stream or queue.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Wakes one waiter when one of its keys may have changed. A wake-up that comes without a waiter is kept, once.
#[derive(Debug)]
pub struct Wake {
    keys: Vec<String>,
    notify: Arc<Notify>,
    wakes: Wakes,
}

impl Wake {
    /// Waits for the next wake-up. Cancel-safe.
    pub async fn wait(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        let mut waiting = self.wakes.0.lock();
        for key in &self.keys {
            if let Some(waiters) = waiting.get_mut(key) {
                waiters.retain(|waiter| !Arc::ptr_eq(waiter, &self.notify));
                if waiters.is_empty() {
                    waiting.remove(key);
                }
            }
        }
    }
}

/// All waiters of a store; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Wakes(Arc<Mutex<HashMap<String, Vec<Arc<Notify>>>>>);

impl Wakes {
    /// A new waiter for a stream, woken once at the start.
    pub fn watch(&self, stream: &str) -> Wake {
        self.watch_all(vec![stream.to_owned()])
    }

    /// A new waiter for several keys, woken once at the start.
    pub fn watch_all(&self, keys: Vec<String>) -> Wake {
        let notify = Arc::new(Notify::new());
        notify.notify_one();
        let mut waiting = self.0.lock();
        keys.iter().for_each(|key| waiting.entry(key.clone()).or_default().push(notify.clone()));
        drop(waiting);
        Wake { keys, notify, wakes: self.clone() }
    }

    /// Wakes the waiters of a key.
    pub fn wake(&self, key: &str) {
        if let Some(waiters) = self.0.lock().get(key) {
            waiters.iter().for_each(|waiter| waiter.notify_one());
        }
    }

    /// Wakes all waiters: anything may have happened.
    pub fn wake_all(&self) {
        self.0.lock().values().flatten().for_each(|waiter| waiter.notify_one());
    }

    /// The keys that have waiters.
    pub fn streams(&self) -> Vec<String> {
        self.0.lock().keys().cloned().collect()
    }
}
