//! Publishing in a commit, and counting who listens.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ::redis::Msg;
use bytes::Bytes;
use sandbar_store::{Effect, Subject, Subscriber, Subscription};
use sandbar_test_harness::poll_until;

use super::build::*;
use super::fixture::SOON;
use super::{Fixture, conformance};

conformance! {
    nobody_listens,
    a_commit_publishes_in_order,
    listeners_hear_what_is_meant_for_them,
    a_subscription_ends_when_it_is_dropped,
    a_prefix_stands_for_itself_in_patterns,
}

async fn nobody_listens(t: &Fixture) {
    assert_eq!(t.store.subscribers(&t.key("channel")).await, Ok(0));
    t.write(&[publish(&t.key("channel"), "into the void")]).await;
}

async fn a_commit_publishes_in_order(t: &Fixture) {
    let channel = t.key("channel");
    let binary = Effect::Publish { channel: channel.clone(), payload: Bytes::from_static(&[0, 0xff]) };
    let effects = [publish(&channel, "1"), publish(&t.key("other"), "not for us"), publish(&channel, ""), binary];
    let expected: [&[u8]; 3] = [b"1", b"", &[0, 0xff]];
    if let Some(store) = t.as_embedded() {
        let mut receiver = store.subscribe(&channel);
        assert_eq!(t.store.subscribers(&channel).await, Ok(1));
        t.write(&effects).await;
        for payload in expected {
            assert_eq!(receiver.recv().await.unwrap(), payload);
        }
        drop(receiver);
        assert_eq!(t.store.subscribers(&channel).await, Ok(0));
    } else if let Some(server) = t.as_redis() {
        let mut connection = server.connect();
        connection.set_read_timeout(Some(SOON)).unwrap();
        let mut receiver = connection.as_pubsub();
        receiver.subscribe(&channel).unwrap();
        assert_eq!(t.store.subscribers(&channel).await, Ok(1));
        t.write(&effects).await;
        for payload in expected {
            let message: Msg = receiver.get_message().unwrap();
            assert_eq!(message.get_payload_bytes(), payload);
        }
    }
}

/// Remembers what it hears.
#[derive(Debug, Default)]
struct Heard {
    messages: Mutex<Vec<(String, String)>>,
    is_listening: AtomicBool,
}

impl Subscriber for Heard {
    fn message(&self, channel: &str, payload: Bytes) {
        self.messages.lock().unwrap().push((channel.to_owned(), String::from_utf8_lossy(&payload).into_owned()));
    }

    fn listening(&self, is_listening: bool) {
        self.is_listening.store(is_listening, Ordering::Relaxed);
    }
}

impl Heard {
    fn messages(&self) -> Vec<(String, String)> {
        self.messages.lock().unwrap().clone()
    }

    async fn has(&self, count: usize) {
        poll_until(SOON, "messages are heard", async || self.messages().len() >= count).await;
    }
}

/// A listener that hears what is published from now on.
async fn listen(t: &Fixture, subject: Subject) -> (Arc<Heard>, Subscription) {
    let heard = Arc::new(Heard::default());
    let subscription = t.store.subscribe(subject, heard.clone());
    poll_until(SOON, "messages are heard", async || heard.is_listening.load(Ordering::Relaxed)).await;
    (heard, subscription)
}

async fn listeners_hear_what_is_meant_for_them(t: &Fixture) {
    let named = |name: &str| Subject::Channel(t.key(name));
    let (one, _one) = listen(t, named("a:1")).await;
    let (same, _same) = listen(t, named("a:1")).await;
    let (all, _all) = listen(t, Subject::pattern_below(t.prefix(), "a:?")).await;
    assert_eq!(t.store.subscribers(&t.key("a:1")).await, Ok(1), "one client, however many listen in it");
    assert_eq!(t.store.subscribers(&t.key("a:2")).await, Ok(0), "patterns are not counted");
    let effects = ["a:1", "a:2", "a:33", "b"].map(|name| publish(&t.key(name), name));
    t.write(&effects).await;
    t.write(&[publish(&t.key("a:1"), "end"), publish(&t.key("a:9"), "end")]).await;
    let pair = |name: &str, payload: &str| (t.key(name), payload.to_owned());
    one.has(2).await;
    same.has(2).await;
    all.has(4).await;
    assert_eq!(one.messages(), [pair("a:1", "a:1"), pair("a:1", "end")]);
    assert_eq!(same.messages(), one.messages());
    assert_eq!(all.messages(), [pair("a:1", "a:1"), pair("a:2", "a:2"), pair("a:1", "end"), pair("a:9", "end")]);
}

async fn a_subscription_ends_when_it_is_dropped(t: &Fixture) {
    let subject = Subject::Channel(t.key("channel"));
    let (first, subscription) = listen(t, subject.clone()).await;
    drop(subscription);
    poll_until(SOON, "nobody subscribes", async || t.store.subscribers(&t.key("channel")).await == Ok(0)).await;
    let (second, _subscription) = listen(t, subject).await;
    t.write(&[publish(&t.key("channel"), "x")]).await;
    second.has(1).await;
    assert_eq!(first.messages(), []);
}

async fn a_prefix_stands_for_itself_in_patterns(t: &Fixture) {
    let prefix = t.key(r"[a]*?\:");
    let (heard, _subscription) = listen(t, Subject::pattern_below(&prefix, "*")).await;
    let others = [t.key(r"axx\:1"), t.key(r"[a]x?\:1"), t.key("a")];
    let mut effects: Vec<Effect> = others.iter().map(|channel| publish(channel, "not for us")).collect();
    effects.push(publish(&format!("{prefix}1"), "x"));
    t.write(&effects).await;
    heard.has(1).await;
    assert_eq!(heard.messages(), [(format!("{prefix}1"), "x".to_owned())]);
}
