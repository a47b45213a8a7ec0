//! Who waits for which stream.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Wakes one waiter when its stream may have grown. A wake-up that comes while nobody waits is kept, once.
#[derive(Debug)]
pub struct Wake {
    stream: String,
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
        if let Some(waiters) = waiting.get_mut(&self.stream) {
            waiters.retain(|waiter| !Arc::ptr_eq(waiter, &self.notify));
            if waiters.is_empty() {
                waiting.remove(&self.stream);
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
        let notify = Arc::new(Notify::new());
        notify.notify_one();
        self.0.lock().entry(stream.to_owned()).or_default().push(notify.clone());
        Wake { stream: stream.to_owned(), notify, wakes: self.clone() }
    }

    /// Wakes those who wait for a stream.
    pub fn wake(&self, stream: &str) {
        if let Some(waiters) = self.0.lock().get(stream) {
            waiters.iter().for_each(|waiter| waiter.notify_one());
        }
    }

    /// Wakes everybody: anything may have happened.
    pub fn wake_all(&self) {
        self.0.lock().values().flatten().for_each(|waiter| waiter.notify_one());
    }

    /// The streams that somebody waits for.
    pub fn streams(&self) -> Vec<String> {
        self.0.lock().keys().cloned().collect()
    }
}
