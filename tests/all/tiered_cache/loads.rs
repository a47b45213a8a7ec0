//! One load per key, whichever caller asks and whatever becomes of the first.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use sandbar_runtime::tiered_cache::{FetchError, LEASE, Tier};
use sandbar_store::{Effect, LoadClaim, LoadSlot};
use sandbar_tests::{RedisServer, poll_until};

use super::*;

/// How many callers ask for one key.
const CALLERS: usize = 1_000;

fn failed(answer: &Answer, words: &str) {
    match answer {
        Err(FetchError::Failed(reason)) => assert!(reason.contains(words), "`{reason}` should contain `{words}`"),
        other => panic!("a failure with `{words}` expected, got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_load_for_a_thousand_callers_on_three_hosts() {
    let server = RedisServer::start();
    let fleet = Arc::new(fleet(&server, 3).await);
    for (round, what) in ["sleep 200 = v", "= v", "sleep 20 = v", "sleep 3500 = v", "= v"].into_iter().enumerate() {
        let key = &format!("quote:{round}");
        source(&fleet[0], key, what).await;
        let begun = Instant::now();
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (fleet, key) = (fleet.clone(), key.clone());
                tokio::spawn(async move { fetch(&fleet[caller % 3], &key, in_memory()).await })
            })
            .collect();
        for caller in callers {
            let (value, _) = caller.await.unwrap().unwrap();
            assert_eq!(value.as_deref(), Some("v"));
        }
        println!("{CALLERS} callers of a source that does `{what}`: {:?}", begun.elapsed());
        assert_eq!(loads(&fleet[0], key).await, 1, "`{what}`");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_has_nothing_is_asked_once_by_a_fleet() {
    let server = RedisServer::start();
    let fleet = fleet(&server, 3).await;
    source(&fleet[0], "quote:none", "none").await;
    let asked = fleet.iter().map(|host| fetch(host, "quote:none", Policy { negative_ttl_ms: LONG, ..policy(LONG) }));
    for answer in futures(asked).await {
        assert_eq!(answer.unwrap().0, None);
    }
    assert_eq!(loads(&fleet[0], "quote:none").await, 1);
}

async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut answers = Vec::new();
    let mut waiting: Vec<_> = all.map(Box::pin).collect();
    // Polls all of them at once.
    std::future::poll_fn(|context| {
        waiting.retain_mut(|future| match future.as_mut().poll(context) {
            std::task::Poll::Ready(answer) => {
                answers.push(answer);
                false
            }
            std::task::Poll::Pending => true,
        });
        if waiting.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_first_caller_leaves_the_load_to_the_others() {
    on_both(async |host| {
        let host = Arc::new(host);
        source(&host, "k:1", "sleep 300 = v").await;
        let first = tokio::spawn({
            let host = host.clone();
            async move { fetch(&host, "k:1", policy(LONG)).await }
        });
        poll_until(PATIENCE, "it is being loaded", async || loads(&host, "k:1").await == 1).await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        assert_eq!(fetch(&host, "k:1", policy(LONG)).await, found("v", Tier::Loaded));
        assert_eq!(loads(&host, "k:1").await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impatient_first_caller_leaves_the_load_to_the_others() {
    on_both(async |host| {
        source(&host, "k:1", "sleep 300 = v").await;
        let impatient = fetch_with(&host, "k:1", policy(LONG), Some("guest"), Duration::from_millis(100)).await;
        assert_eq!(impatient, Err(FetchError::TimedOut));
        assert_eq!(fetch(&host, "k:1", policy(LONG)).await, found("v", Tier::Loaded));
        assert_eq!(loads(&host, "k:1").await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_fails_poisons_nothing() {
    let limits = "[limits]\ndeadline = \"1s\"";
    for embedded in [true, false] {
        let server = RedisServer::start();
        let on: Arc<dyn Store> = if embedded { Arc::new(Embedded::new()) } else { store(server.url()).await };
        let host = host(on, limits).await;
        let failures = [
            ("fail", "`fail`"),
            ("trap", "the source traps"),
            ("spin", "limits.deadline"),
            ("sleep 2000 = x", "limits.deadline"),
        ];
        for (at, (what, words)) in failures.into_iter().enumerate() {
            let key = &format!("k:{at}");
            source(&host, key, what).await;
            let begun = Instant::now();
            failed(&fetch(&host, key, policy(LONG)).await, words);
            assert!(begun.elapsed() < Duration::from_secs(5), "`{what}` took {:?}", begun.elapsed());
            source(&host, key, "= v").await;
            let begun = Instant::now();
            assert_eq!(fetch(&host, key, policy(LONG)).await, found("v", Tier::Loaded), "after `{what}`");
            assert!(begun.elapsed() < Duration::from_secs(2), "after `{what}`: {:?}", begun.elapsed());
            assert_eq!(loads(&host, key).await, 2);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_calls_fail_where_a_load_fails_on_another_host() {
    let server = RedisServer::start();
    let fleet = fleet(&server, 3).await;
    // The load traps after a while, so that all wait for the same one.
    source(&fleet[0], "k:1", "sleep 300 = x").await;
    let asked: Vec<_> = fleet.iter().map(|host| fetch(host, "k:1", policy(1))).collect();
    let answers = futures(asked.into_iter()).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let slot = LoadSlot::new("", "k:2");
    let claim = LoadClaim { token: "somebody", lease_ms: LONG, waited: "", wants_stale: false };
    fleet[0].store.claim(&slot, claim).await.unwrap();
    source(&fleet[0], "k:2", "= v").await;
    let fail = async {
        poll_until(PATIENCE, "they wait", async || {
            tokio::time::sleep(Duration::from_millis(100)).await;
            true
        })
        .await;
        fleet[0].store.fail(&slot, "somebody", "away").await.unwrap();
    };
    let (answers, ()) = tokio::join!(futures(fleet.iter().map(|host| fetch(host, "k:2", policy(LONG)))), fail);
    answers.iter().for_each(|answer| failed(answer, "away"));
    assert_eq!(loads(&fleet[0], "k:2").await, 0, "they did not ask the source themselves");
    assert_eq!(fetch(&fleet[1], "k:2", policy(LONG)).await, found("v", Tier::Loaded), "a new caller does");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_load_of_a_host_that_died_goes_to_another() {
    on_both(async |host| {
        source(&host, "k:1", "= v").await;
        let lease_ms = u64::try_from(LEASE.as_millis()).unwrap();
        let claim = LoadClaim { token: "dead", lease_ms, waited: "", wants_stale: false };
        host.store.claim(&LoadSlot::new("", "k:1"), claim).await.unwrap();
        let begun = Instant::now();
        assert_eq!(fetch(&host, "k:1", policy(LONG)).await, found("v", Tier::Loaded));
        println!("taken over after {:?}", begun.elapsed());
        assert!(begun.elapsed() < LEASE * 2, "{:?}", begun.elapsed());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_while_it_is_loaded_is_loaded_again() {
    on_both(async |host| {
        source(&host, "k:1", "sleep 300 = old").await;
        let change = async {
            poll_until(PATIENCE, "it is being loaded", async || loads(&host, "k:1").await == 1).await;
            source(&host, "k:1", "= new").await;
            // What `cache.delete` of a plugin commits.
            let slot = LoadSlot::new("", "k:1");
            write(&host, &[Effect::Delete { key: slot.key }, Effect::Delete { key: slot.note }]).await;
        };
        let (answer, ()) = tokio::join!(fetch(&host, "k:1", policy(LONG)), change);
        assert_eq!(answer, found("new", Tier::Loaded));
        assert_eq!((loads(&host, "k:1").await, host.value("k:1").await.as_deref()), (2, Some("new")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_while_it_is_loaded_stays() {
    on_both(async |host| {
        source(&host, "k:1", "sleep 300 = old").await;
        let change = async {
            poll_until(PATIENCE, "it is being loaded", async || loads(&host, "k:1").await == 1).await;
            set(&host, "k:1", "new", Expiry::Never).await;
            let begun = Instant::now();
            assert_eq!(fetch(&host, "k:1", policy(LONG)).await, found("new", Tier::Store));
            assert!(begun.elapsed() < Duration::from_millis(200), "a later call does not wait: {:?}", begun.elapsed());
        };
        let (answer, ()) = tokio::join!(fetch(&host, "k:1", policy(LONG)), change);
        assert_eq!(answer.unwrap().0.as_deref(), Some("new"));
        assert_eq!(host.value("k:1").await.as_deref(), Some("new"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_that_need_themselves_end_with_an_error() {
    on_both(async |host| {
        let begun = Instant::now();
        source(&host, "k:self", "fetch k:self").await;
        failed(&fetch(&host, "k:self", policy(LONG)).await, "loads this key itself");
        source(&host, "k:a", "fetch k:b").await;
        source(&host, "k:b", "fetch k:a").await;
        failed(&fetch(&host, "k:a", policy(LONG)).await, "loads this key itself");
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        for depth in 0..8 {
            source(&host, &format!("k:{depth}"), &format!("fetch k:{}", depth + 1)).await;
        }
        failed(&fetch(&host, "k:0", policy(LONG)).await, "nest deeper");
        source(&host, "k:7", "= deep").await;
        assert_eq!(fetch(&host, "k:5", policy(LONG)).await, found("deep", Tier::Loaded), "three are not too deep");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_that_wait_for_each_other_end() {
    let host = host(Arc::new(Embedded::new()), "[limits]\ndeadline = \"500ms\"").await;
    source(&host, "k:a", "fetch k:b").await;
    source(&host, "k:b", "fetch k:a").await;
    let begun = Instant::now();
    let answers = tokio::join!(fetch(&host, "k:a", policy(LONG)), fetch(&host, "k:b", policy(LONG)));
    assert!(answers.0.is_err() && answers.1.is_err(), "{answers:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// The other writes of the load stand, so none of its keys is loaded again.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_write_fails_the_keys_that_were_loaded_together_and_repeats_no_write() {
    on_both(async |host| {
        // Which keys are loaded together is a matter of time, so it may need several rounds.
        for round in 0..100 {
            let keys: Vec<String> = (0..100).map(|number| format!("k:{round}:{number}")).collect();
            for key in &keys {
                source(&host, key, "add v").await;
            }
            let refused = &keys[50];
            write(&host, &[Effect::SetAdd { key: format!("beside:{refused}"), members: vec!["a".to_owned()] }]).await;
            let answers =
                futures(keys.iter().map(|key| async { (key.clone(), fetch(&host, key, policy(LONG)).await) })).await;
            let mut failures = 0;
            for (key, answer) in &answers {
                assert_eq!(loads(&host, key).await, 1, "{key}");
                if key == refused {
                    failed(answer, "the store refused cache.add");
                    continue;
                }
                assert_eq!(host.value(&format!("beside:{key}")).await.as_deref(), Some("1"), "{key}");
                failures += u32::from(answer.is_err());
            }
            if failures > 0 {
                return;
            }
        }
        panic!("it was loaded alone in each round");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_queue_up_are_loaded_together() {
    on_both(async |host| {
        let keys: Vec<String> = (0..500).map(|number| format!("k:{number}")).collect();
        for key in &keys {
            source(&host, key, if key == "k:250" { "trap" } else { "= v" }).await;
        }
        let answers =
            futures(keys.iter().map(|key| async { (key.clone(), fetch(&host, key, policy(LONG)).await) })).await;
        let mut batches = BTreeSet::new();
        for (key, answer) in &answers {
            if key == "k:250" {
                failed(answer, "the source traps");
                continue;
            }
            assert_eq!(*answer, found("v", Tier::Loaded), "{key}");
            let loads = loads(&host, key).await;
            assert!(
                (1..=2).contains(&loads),
                "{key} was loaded {loads} times: it may have been beside the one that traps"
            );
            batches.insert(host.value(&format!("batch:{key}")).await.unwrap().parse::<u64>().unwrap());
        }
        assert!(batches.iter().any(|size| *size > 1), "all were loaded alone: {batches:?}");
    })
    .await;
}
