//! What is answered, and for how long it is kept.

use std::time::Duration;

use bytesize::ByteSize;
use sandbar_runtime::tiered_cache::{FetchError, Tier};
use sandbar_store::Remaining;
use sandbar_tests::poll_until;

use super::*;

/// A value of which nothing is left but a stale copy.
async fn outdated(host: &TestHost, key: &str, policy: Policy) {
    source(host, key, "= old").await;
    assert_eq!(fetch(host, key, Policy { ttl_ms: 30, ..policy }).await, found("old", Tier::Loaded));
    poll_until(PATIENCE, "the value is over", async || host.value(key).await.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_loaded_is_kept_on_the_way_back() {
    on_both(async |host| {
        source(&host, "k:1", "= v").await;
        assert_eq!(fetch(&host, "k:1", in_memory()).await, found("v", Tier::Loaded));
        assert_eq!(host.value("k:1").await.as_deref(), Some("v"));
        assert!(matches!(host.store.ttl("k:1").await, Ok(Remaining::Ms(500_000..=LONG))));
        assert_eq!(
            fetch(&host, "k:1", policy(LONG)).await,
            found("v", Tier::Store),
            "not from memory unless asked for"
        );
        warm(&host, "k:1", "v").await;
        assert!(host.host.first().unwrap().tiered_cache().memory_bytes() > 0);
        assert_eq!(loads(&host, "k:1").await, 1);
        let no_older = Policy { memory_ttl_ms: 1, ..policy(LONG) };
        poll_until(PATIENCE, "it is older than this caller wants", async || {
            fetch(&host, "k:1", no_older).await == found("v", Tier::Store)
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_loader_there_are_memory_and_store() {
    on_both(async |host| {
        let get = async || fetch_with(&host, "k:1", in_memory(), None, PATIENCE).await;
        assert_eq!(get().await, Ok((None, Tier::Store)));
        set(&host, "k:1", "v", Expiry::Never).await;
        assert_eq!(get().await, found("v", Tier::Store));
        poll_until(PATIENCE, "it is answered from memory", async || get().await == found("v", Tier::Memory)).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_come_out_as_they_went_in() {
    on_both(async |host| {
        // Neither text nor JSON; the guest writes text, so the value is set here.
        let value: Vec<u8> = (0..=255).collect();
        let (key, value) = ("k:1".to_owned(), bytes::Bytes::from(value));
        let effect =
            Effect::Set { key, value: value.clone(), expiry: Expiry::TtlMs(LONG), condition: Condition::Always };
        write(&host, &[effect]).await;
        for _ in 0..3 {
            let (until, lineage) = (Instant::now() + PATIENCE, Lineage::default());
            let fetch = Fetch { key: "k:1", policy: &in_memory(), loader: None, until, lineage: &lineage };
            assert_eq!(host.host.first().unwrap().tiered_cache().fetch(fetch).await.unwrap().0, Some(value.clone()));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_the_source_has_nothing_is_remembered() {
    on_both(async |host| {
        source(&host, "k:1", "none").await;
        let negative = Policy { negative_ttl_ms: 400, memory_ttl_ms: LONG, ..policy(LONG) };
        assert_eq!(fetch(&host, "k:1", negative).await, Ok((None, Tier::Loaded)));
        source(&host, "k:1", "= v").await;
        assert_eq!(fetch(&host, "k:1", negative).await, Ok((None, Tier::Negative)));
        assert_eq!(loads(&host, "k:1").await, 1);
        let begun = Instant::now();
        poll_until(PATIENCE, "it is forgotten", async || {
            fetch(&host, "k:1", negative).await == found("v", Tier::Loaded)
        })
        .await;
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "memory does not remember it for longer: {:?}",
            begun.elapsed()
        );
        assert_eq!(loads(&host, "k:1").await, 2);

        source(&host, "k:2", "none").await;
        assert_eq!(fetch(&host, "k:2", policy(LONG)).await, Ok((None, Tier::Loaded)));
        source(&host, "k:2", "= v").await;
        assert_eq!(fetch(&host, "k:2", policy(LONG)).await, found("v", Tier::Loaded), "0 does not remember");

        source(&host, "k:3", "none").await;
        let long = Policy { negative_ttl_ms: LONG, ..in_memory() };
        fetch(&host, "k:3", long).await.unwrap();
        set(&host, "k:3", "v", Expiry::Never).await;
        assert_eq!(fetch(&host, "k:3", long).await, found("v", Tier::Store), "a value set by another client is there");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_value_is_answered_while_a_new_one_is_loaded() {
    on_both(async |host| {
        let revalidate = Policy { stale_while_revalidate_ms: LONG, ..policy(LONG) };
        outdated(&host, "k:1", revalidate).await;
        source(&host, "k:1", "sleep 300 = new").await;
        for _ in 0..10 {
            let begun = Instant::now();
            assert_eq!(fetch(&host, "k:1", revalidate).await, found("old", Tier::Stale));
            assert!(begun.elapsed() < Duration::from_millis(250), "at once: {:?}", begun.elapsed());
        }
        poll_until(PATIENCE, "the new one is there", async || {
            fetch(&host, "k:1", revalidate).await == found("new", Tier::Store)
        })
        .await;
        assert_eq!(loads(&host, "k:1").await, 2, "one for each value");
        // A call that does not want it waits.
        outdated(&host, "k:2", revalidate).await;
        source(&host, "k:2", "sleep 100 = new").await;
        assert_eq!(fetch(&host, "k:2", policy(LONG)).await, found("new", Tier::Loaded));
        // Nor is it answered after its time.
        let short = Policy { stale_while_revalidate_ms: 20, ..policy(LONG) };
        outdated(&host, "k:3", revalidate).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
        source(&host, "k:3", "= new").await;
        assert_eq!(fetch(&host, "k:3", short).await, found("new", Tier::Loaded));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_value_is_answered_where_the_source_fails() {
    on_both(async |host| {
        let on_error = Policy { stale_on_error_ms: LONG, ..policy(LONG) };
        outdated(&host, "k:1", on_error).await;
        source(&host, "k:1", "fail").await;
        let begun = Instant::now();
        let mut answers = 0;
        while begun.elapsed() < Duration::from_millis(2_500) {
            assert_eq!(fetch(&host, "k:1", on_error).await, found("old", Tier::Stale));
            answers += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let asked = loads(&host, "k:1").await - 1;
        println!("{answers} answers in {:?}, for which the source was asked {asked} times", begun.elapsed());
        assert!((2..=3).contains(&asked), "once a second: {asked} times");
        assert!(answers > 20, "{answers}");
        assert!(
            matches!(fetch(&host, "k:1", policy(LONG)).await, Err(FetchError::Failed(_))),
            "a call that does not want it"
        );
        source(&host, "k:1", "= new").await;
        poll_until(PATIENCE, "the source is asked again", async || {
            fetch(&host, "k:1", on_error).await.unwrap().0.as_deref() == Some("new")
        })
        .await;
        // A source that takes too long fails as well.
        outdated(&host, "k:2", on_error).await;
        source(&host, "k:2", "sleep 2000 = new").await;
        let impatient = fetch_with(&host, "k:2", on_error, Some("guest"), Duration::from_millis(100)).await;
        assert_eq!(impatient, found("old", Tier::Stale));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_is_not_answered_in_place_of_anything() {
    on_both(async |host| {
        let stale = Policy { stale_on_error_ms: LONG, stale_while_revalidate_ms: LONG, ..policy(LONG) };
        source(&host, "k:1", "= old").await;
        fetch(&host, "k:1", stale).await.unwrap();
        write(&host, &[Effect::Delete { key: "k:1".to_owned() }]).await;
        source(&host, "k:1", "sleep 50 = new").await;
        assert_eq!(fetch(&host, "k:1", stale).await, found("new", Tier::Loaded));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_to_live_are_spread() {
    on_both(async |host| {
        let mut left = Vec::new();
        for number in 0..60 {
            let key = format!("k:{number}");
            source(&host, &key, "= v").await;
            fetch(&host, &key, Policy { jitter_percent: 50, ..policy(LONG) }).await.unwrap();
            let Ok(Remaining::Ms(ms)) = host.store.ttl(&key).await else { panic!("{key} does not expire") };
            assert!((LONG / 2 - 30_000..=LONG).contains(&ms), "{ms}");
            left.push(ms);
        }
        let (least, most) = (left.iter().min().unwrap(), left.iter().max().unwrap());
        assert!(most - least > LONG / 5, "from {least} to {most} ms");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_never_outlives_the_store() {
    on_both(async |host| {
        for _ in 0..5 {
            set(&host, "k:1", "v", Expiry::TtlMs(300)).await;
            let set_at = Instant::now();
            let get = async || fetch_with(&host, "k:1", in_memory(), None, PATIENCE).await;
            poll_until(PATIENCE, "it is answered from memory, or over", async || {
                get().await == found("v", Tier::Memory) || set_at.elapsed() > Duration::from_millis(300)
            })
            .await;
            poll_until(PATIENCE, "it is over", async || get().await == Ok((None, Tier::Store))).await;
            let took = set_at.elapsed();
            assert!(took < Duration::from_millis(400), "{took:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_in_bytes() {
    let mut config = Config::default();
    config.cache.memory = ByteSize::mib(1);
    let host = host_with(config, Arc::new(Embedded::new()), "").await;
    for number in 0..300 {
        let key = format!("k:{number}");
        source(&host, &key, "large 20000").await;
        for _ in 0..2 {
            assert_eq!(fetch(&host, &key, in_memory()).await.unwrap().0.map(|value| value.len()), Some(20_000));
        }
    }
    let bytes = host.host.first().unwrap().tiered_cache().memory_bytes();
    println!("of 6 MB so many bytes stay: {bytes}");
    assert!((1 << 19..=1 << 20).contains(&bytes), "{bytes}");
}
