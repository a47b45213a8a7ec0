//! Who listens to a channel.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::StoreError;

/// Reads about channels, and subscriptions; publishing is an effect.
#[async_trait]
pub trait PubSub: Send + Sync {
    /// How many clients subscribe to the channel by its name.
    async fn subscribers(&self, channel: &str) -> Result<u64, StoreError>;

    /// Hands what is published from about now on to a listener, until the subscription is dropped. At most once: what
    /// is published while the store cannot be reached is not heard.
    fn subscribe(&self, subject: Subject, listener: Arc<dyn Subscriber>) -> Subscription;
}

/// What is listened to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A channel.
    Channel(String),
    /// All channels whose names match a glob pattern.
    Pattern(String),
    /// A sharded channel (Redis 7), which has nothing to do with the channel of the same name.
    Sharded(String),
}

impl Subject {
    /// A pattern below a prefix, which stands for itself whatever characters it has.
    pub fn pattern_below(prefix: &str, pattern: &str) -> Self {
        let mut escaped = String::with_capacity(prefix.len() + pattern.len());
        for character in prefix.chars() {
            if matches!(character, '*' | '?' | '[' | ']' | '\\') {
                escaped.push('\\');
            }
            escaped.push(character);
        }
        Self::Pattern(escaped + pattern)
    }
}

/// Takes messages as they come, and learns whether it can receive any. Called by the task that reads from the store,
/// which must not be delayed: nothing here may wait, or call the store.
pub trait Subscriber: Send + Sync + std::fmt::Debug {
    /// A message of a channel.
    fn message(&self, channel: &str, payload: Bytes);

    /// From now on messages are heard, or they are not: the store cannot be reached, or does not allow it.
    fn listening(&self, is_listening: bool);
}

/// All listeners of a store; cheap to clone. Bounded by their number.
#[derive(Debug, Clone, Default)]
pub(super) struct Subscribers {
    table: Arc<Mutex<Table>>,
    changed: Arc<Notify>,
}

/// A listener, with the number under which it leaves.
type Numbered = (u64, Arc<dyn Subscriber>);

#[derive(Debug, Default)]
struct Table {
    by_subject: HashMap<Subject, Vec<Numbered>>,
    /// The subjects that are heard.
    heard: HashSet<Subject>,
    next: u64,
}

/// Ends when it is dropped.
#[derive(Debug)]
pub struct Subscription {
    listeners: Subscribers,
    subject: Subject,
    number: u64,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut table = self.listeners.table.lock();
        if let Some(listeners) = table.by_subject.get_mut(&self.subject) {
            listeners.retain(|(number, _)| *number != self.number);
            if listeners.is_empty() {
                table.by_subject.remove(&self.subject);
            }
        }
        drop(table);
        self.listeners.changed.notify_one();
    }
}

impl Subscribers {
    /// Adds a listener.
    pub(super) fn add(&self, subject: Subject, listener: Arc<dyn Subscriber>) -> Subscription {
        let mut table = self.table.lock();
        let number = table.next;
        table.next += 1;
        if table.heard.contains(&subject) {
            listener.listening(true);
        }
        table.by_subject.entry(subject.clone()).or_default().push((number, listener));
        drop(table);
        self.changed.notify_one();
        Subscription { listeners: self.clone(), subject, number }
    }

    /// Waits until listeners came or went. A change that comes without a waiter is kept, once.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What is listened to.
    pub(super) fn subjects(&self) -> HashSet<Subject> {
        self.table.lock().by_subject.keys().cloned().collect()
    }

    /// Forgets what was heard and is not listened to any more.
    pub(super) fn forget(&self) {
        let table = &mut *self.table.lock();
        table.heard.retain(|subject| table.by_subject.contains_key(subject));
    }

    /// Whether a subject has a listener.
    pub(super) fn has(&self, subject: &Subject) -> bool {
        self.table.lock().by_subject.contains_key(subject)
    }

    /// A subject is heard from now on, or is not.
    pub(super) fn heard(&self, subject: &Subject, is_heard: bool) {
        let mut table = self.table.lock();
        if is_heard {
            table.heard.insert(subject.clone());
        } else {
            table.heard.remove(subject);
        }
        table.by_subject.get(subject).into_iter().flatten().for_each(|(_, listener)| listener.listening(is_heard));
    }

    /// Nothing is heard any more.
    pub(super) fn deaf(&self) {
        let mut table = self.table.lock();
        table.heard.clear();
        table.by_subject.values().flatten().for_each(|(_, listener)| listener.listening(false));
    }

    /// Hands a message to the listeners of subjects that it is meant for.
    pub(super) fn deliver_to(&self, is_meant: impl Fn(&Subject) -> bool, channel: &str, payload: &Bytes) {
        let table = self.table.lock();
        let listeners = table.by_subject.iter().filter(|(subject, _)| is_meant(subject)).flat_map(|(_, found)| found);
        listeners.for_each(|(_, listener)| listener.message(channel, payload.clone()));
    }

    /// Hands a message to the listeners of a subject.
    pub(super) fn deliver(&self, subject: &Subject, channel: &str, payload: &Bytes) {
        let table = self.table.lock();
        let listeners = table.by_subject.get(subject).into_iter().flatten();
        listeners.for_each(|(_, listener)| listener.message(channel, payload.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Heard(Mutex<(Vec<String>, Vec<bool>)>);

    impl Subscriber for Heard {
        fn message(&self, channel: &str, _: Bytes) {
            self.0.lock().0.push(channel.to_owned());
        }

        fn listening(&self, is_listening: bool) {
            self.0.lock().1.push(is_listening);
        }
    }

    #[test]
    fn a_prefix_stands_for_itself() {
        let Subject::Pattern(pattern) = Subject::pattern_below(r"a*[b]\?:", "x*") else { panic!("a pattern") };
        assert_eq!(pattern, r"a\*\[b\]\\\?:x*");
    }

    #[test]
    fn listeners_come_and_go() {
        let (listeners, subject) = (Subscribers::default(), Subject::Channel("a".to_owned()));
        let (first, second) = (Arc::new(Heard::default()), Arc::new(Heard::default()));
        let kept = listeners.add(subject.clone(), first.clone());
        listeners.heard(&subject, true);
        let dropped = listeners.add(subject.clone(), second.clone());
        listeners.deliver(&subject, "a", &Bytes::new());
        drop(dropped);
        listeners.deliver(&subject, "a", &Bytes::new());
        listeners.deaf();
        assert_eq!(*first.0.lock(), (vec!["a".to_owned(), "a".to_owned()], vec![true, false]));
        assert_eq!(*second.0.lock(), (vec!["a".to_owned()], vec![true]), "it learns it at once");
        drop(kept);
        assert!(listeners.subjects().is_empty() && !listeners.has(&subject));
    }
}
