//! `sandbar replay --against` a version that was deployed: with the bytes and the manifest of its release.

use std::time::Duration;

use bytes::Bytes;
use sandbar_fleet::{Deploy, DeployOutcome, Fleet};
use sandbar_tests::{RedisServer, TestHost, components};
use serde_json::{Value, json};

use super::replay::{folder, redis, replayed};
use super::{differing, feed, plain, version};

const TRIGGER: &str = "batch = 1\nrecord = true";

/// Deploys where no host is, so that it is active at once, and answers its digest.
async fn deployed(fleet: &Fleet, manifest: String, number: u64) -> String {
    let component = Bytes::from(version(number));
    let wait = Duration::from_secs(30);
    let deploy = Deploy { manifest, component, by: "ada".to_owned(), trial: None, wait };
    let deployed = fleet.deploy("default", deploy).await.unwrap();
    assert_eq!(deployed.outcome, DeployOutcome::Active);
    deployed.digest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_compared_with_one_that_was_deployed() {
    let server = RedisServer::start();
    let store = redis(&server).await;
    let test = TestHost::on(store.clone(), components::HANDLE_TRIAL, &plain(TRIGGER, "")).await;
    feed(&test, 1..41).await;
    test.settled(40).await;
    test.host.shutdown().await;
    let fleet = Fleet::new(store, "");
    // One that was replaced, one that is active; each other than what is compared, in its manifest alone.
    let other = deployed(&fleet, differing("value", 10, TRIGGER, ""), 1).await;
    let same = deployed(&fleet, plain(TRIGGER, "[health]\nprobation = \"1s\""), 2).await;
    let folder = folder(&server, &plain(TRIGGER, ""));
    let against = |digest: &str| replayed(&folder, &["--stream", "events", "--against", digest]);
    assert_eq!(against(&same[..12]), Vec::<Value>::new());
    for digest in [&other[..4], &other[..12], &other] {
        let told = against(digest);
        assert_eq!(told.len(), 4, "{told:?}");
        for (n, told) in (10_u64..).step_by(10).zip(&told) {
            let sum: u64 = (1..=n).sum();
            assert_eq!(told["kind"], "different-effect", "{told}");
            let values = (&told["version"]["value"], &told["against"]["value"]);
            assert_eq!(values, (&json!(sum.to_string()), &json!((sum + 1_000_000).to_string())), "event {n}: {told}");
        }
    }
    // What names no version, or too little of one, is an error; nothing else is compared.
    for digest in ["abcdef012345", &other[..3]] {
        let finished = folder.run(&["replay", "guest", "--stream", "events", "--against", digest]);
        assert_eq!((finished.code, finished.out.as_str()), (1, ""), "{finished:?}");
        assert!(finished.err.contains(&format!("`{digest}` is no file, and no version that was deployed")));
    }
}
