//! Publishing in a commit, and counting who listens.

use ::redis::Msg;
use bytes::Bytes;
use sandbar::store::Effect;

use super::build::*;
use super::fixture::SOON;
use super::{Fixture, conformance};

conformance! {
    nobody_listens,
    a_commit_publishes_in_order,
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
