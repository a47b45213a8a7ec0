//! The queue trigger: what was asked for and what comes of it, in time, in order and in number.

mod crashes;
mod example;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sandbar_core::config::StoreConfig;
use sandbar_store::embedded::Embedded;
use sandbar_store::{Commit, Effect, JobQueue, PushOptions, Settlement, Store, connect};
use sandbar_tests::{RedisServer, TestHost, components, poll_until};

/// How much later than asked something may happen on a busy machine, in milliseconds.
const LATE_MAX: u64 = 2_000;
/// How much earlier, by the rounding of clocks.
const EARLY_MAX: u64 = 5;
const PATIENCE: Duration = Duration::from_secs(60);

/// A manifest with a queue trigger on `jobs`; `trigger` are more lines of it, `rest` what follows.
fn manifest(trigger: &str, rest: &str) -> String {
    format!(
        "name = \"guest\"\n[[trigger]]\ntype = \"queue\"\nqueue = \"jobs\"\n{trigger}\n[grants]\nwrite = [\"*\"]\n{rest}\n"
    )
}

fn job(what: &str, name: &str, rest: &str) -> String {
    format!(r#"{{"do":"{what}","name":"{name}"{rest}}}"#)
}

fn queue() -> Arc<JobQueue> {
    Arc::new(JobQueue::new("", "jobs"))
}

async fn store(server: &RedisServer) -> Arc<dyn Store> {
    connect(&StoreConfig { url: server.url(), ..StoreConfig::default() }).await.unwrap()
}

/// A store of each kind, and what keeps it alive.
async fn both() -> [(Option<RedisServer>, Arc<dyn Store>); 2] {
    let server = RedisServer::start();
    let redis = store(&server).await;
    [(None, Arc::new(Embedded::new())), (Some(server), redis)]
}

async fn push(store: &dyn Store, payload: String, options: PushOptions) {
    let effects = [Effect::Push { queue: queue(), payloads: vec![payload.into()], options }];
    let settlement = Settlement::default();
    let commit = Commit { consumer: None, watched: &[], effects: &effects, settlement, leases: &[], atomic: true };
    assert_eq!(store.commit(commit).await.unwrap().refused, []);
}

/// The values of a list, as text.
async fn list(store: &dyn Store, key: &str) -> Vec<String> {
    let values = store.list_range(key, 0, -1).await.unwrap();
    values.iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

/// When the attempts at a job were made, in milliseconds since 1970.
async fn attempts(test: &TestHost, name: &str) -> Vec<u64> {
    let mut found = Vec::new();
    while let Some(at) = test.value(&format!("at:{name}:{}", found.len() + 1)).await {
        found.push(at.parse().unwrap());
    }
    found
}

fn check_pauses(name: &str, attempts: &[u64], asked: &[(u64, u64)]) {
    let pauses: Vec<u64> = attempts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    println!("{name}: pauses of {pauses:?} ms, asked for {asked:?}");
    assert_eq!(pauses.len(), asked.len(), "{name}: {pauses:?}");
    for (pause, (least, most)) in pauses.iter().zip(asked) {
        assert!(pause + EARLY_MAX >= *least, "{name}: {pauses:?}, asked for {asked:?}");
        assert!(*pause <= most + LATE_MAX, "{name}: {pauses:?}, asked for {asked:?}");
    }
}

fn now_ms() -> u64 {
    u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_producers_need_only_lpush() {
    let server = RedisServer::start();
    let test = TestHost::on(store(&server).await, components::QUEUE_JOB, &manifest("", "")).await;
    for number in 0..300 {
        server.ask(&["LPUSH", "jobs", &job("done", &number.to_string(), "")]);
    }
    test.settled(300).await;
    let expected: Vec<String> = (0..300).map(|number| number.to_string()).collect();
    assert_eq!(list(&*test.store, "order").await, expected, "first in, first out");
    // Beside the number of the last job nothing is left.
    let keys: Vec<String> = server.get(&["KEYS", "sandbar:*"]);
    assert_eq!(keys, ["sandbar:queue:jobs:seq"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_trigger_is_woken_at_once() {
    let server = RedisServer::start();
    let test = TestHost::on(store(&server).await, components::QUEUE_JOB, &manifest("", "")).await;
    poll_until(PATIENCE, "the trigger runs", async || sandbar_server::http::Health::health(&test.host).is_ready())
        .await;
    let mut took = Vec::new();
    for number in 0..20_u64 {
        tokio::time::sleep(Duration::from_millis(30)).await;
        let begun = now_ms();
        server.ask(&["LPUSH", "jobs", &job("done", &number.to_string(), "")]);
        test.settled(number + 1).await;
        took.push(attempts(&test, &number.to_string()).await[0].saturating_sub(begun));
    }
    took.sort_unstable();
    println!("from LPUSH to the handler: {took:?} ms");
    assert!(took[10] < 100, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_come_back_when_they_were_asked_to() {
    let trigger = "batch = 10\nmax-attempts = 5\nretry-min = \"100ms\"\nretry-max = \"400ms\"";
    for (server, store) in both().await {
        let test = TestHost::on(store, components::QUEUE_JOB, &manifest(trigger, "")).await.reading("jobs");
        let jobs = [
            job("given", "given", r#","delay":700,"until":3"#),
            job("backoff", "backoff", r#","until":5"#),
            job("backoff", "never", r#","until":1000"#),
            job("given", "soon", r#","delay":0,"until":2"#),
            job("given", "well", r#","until":1"#),
        ];
        for job in jobs {
            push(&*test.store, job, PushOptions::default()).await;
        }
        test.settled(5).await;
        // Doubled with each attempt up to `retry-max`, and up to half of it taken off by chance.
        let doubled = [(50, 100), (100, 200), (200, 400), (200, 400)];
        check_pauses("given", &attempts(&test, "given").await, &[(700, 700), (700, 700)]);
        check_pauses("backoff", &attempts(&test, "backoff").await, &doubled);
        check_pauses("never", &attempts(&test, "never").await, &doubled);
        check_pauses("soon", &attempts(&test, "soon").await, &[(0, 0)]);
        check_pauses("well", &attempts(&test, "well").await, &[]);
        let mut done = list(&*test.store, "order").await;
        done.sort_unstable();
        assert_eq!(done, ["backoff", "given", "soon", "well"]);
        assert_eq!(test.reasons().await, ["the plugin asked for a retry at attempt 5, the last"]);
        let lengths = test.store.lengths(&queue()).await.unwrap();
        assert_eq!((lengths.ready, lengths.delayed, lengths.leased, lengths.dead), (0, 0, 0, 1));
        drop(server);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn delays_are_kept() {
    for (server, store) in both().await {
        let test = TestHost::on(store, components::QUEUE_JOB, &manifest("", "")).await;
        let begun = now_ms();
        let asked = [400_u64, 100, 800, 250, 1];
        for delay_ms in asked {
            let options = PushOptions { delay_ms, ..PushOptions::default() };
            push(&*test.store, job("done", &delay_ms.to_string(), ""), options).await;
        }
        // By the plugin itself, in its commit.
        push(&*test.store, job("push", "plugin", r#","delay":300"#), PushOptions::default()).await;
        test.settled(7).await;
        for delay_ms in asked {
            let took = attempts(&test, &delay_ms.to_string()).await[0] - begun;
            println!("a delay of {delay_ms} ms: {took} ms");
            assert!(took + EARLY_MAX >= delay_ms && took <= delay_ms + LATE_MAX, "{delay_ms}: {took}");
        }
        let pause = attempts(&test, "plugin's").await[0] - attempts(&test, "plugin").await[0];
        assert!((300 - EARLY_MAX..300 + LATE_MAX).contains(&pause), "{pause}");
        let order = list(&*test.store, "order").await;
        let of_delays: Vec<_> = order.iter().filter(|name| name.parse::<u64>().is_ok()).collect();
        assert_eq!(of_delays, ["1", "100", "250", "400", "800"]);
        drop(server);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_queue_waits_and_higher_priorities_go_first() {
    for (server, store) in both().await {
        store.set_paused(&queue(), true).await.unwrap();
        let trigger = "batch = 2\nprefetch = 0";
        let test = TestHost::on(store, components::QUEUE_JOB, &manifest(trigger, "")).await;
        for (name, priority) in [("plain", 0), ("5a", 5), ("9a", 9), ("5b", 5), ("9b", 9), ("255", 255)] {
            let options = PushOptions { priority, ..PushOptions::default() };
            push(&*test.store, job("done", name, ""), options).await;
        }
        poll_until(PATIENCE, "the trigger runs", async || sandbar_server::http::Health::health(&test.host).is_ready())
            .await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(test.store.lengths(&queue()).await.unwrap().ready, 6, "nothing is taken while it is paused");
        let resumed = now_ms();
        assert_eq!(test.store.set_paused(&queue(), false).await, Ok(true));
        test.settled(6).await;
        assert_eq!(list(&*test.store, "order").await, ["255", "9a", "9b", "5a", "5b", "plain"]);
        // By itself a trigger looks only every 5 s.
        let took = attempts(&test, "255").await[0].saturating_sub(resumed);
        assert!(took < 3_000, "it went on {took} ms after it was resumed");
        drop(server);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_fleet_keeps_to_one_rate() {
    const JOBS: u64 = 300;
    const RATE: u64 = 50;
    const SPAN_MS: u64 = 400;
    let server = RedisServer::start();
    let trigger = format!("rate = {RATE}\nrate-per = \"{SPAN_MS}ms\"\nbatch = 20\nconcurrency = 2");
    for number in 0..JOBS {
        server.ask(&["LPUSH", "jobs", &job("done", &number.to_string(), "")]);
    }
    let hosts = [
        TestHost::on(store(&server).await, components::QUEUE_JOB, &manifest(&trigger, "")).await,
        TestHost::on(store(&server).await, components::QUEUE_JOB, &manifest(&trigger, "")).await,
    ];
    let done = async || {
        let counts: Vec<u64> = hosts.iter().map(|test| test.host.plugins()[0].metrics.snapshot().done).collect();
        counts.iter().sum::<u64>() == JOBS
    };
    poll_until(PATIENCE, "all jobs are done", done).await;
    // When each was taken, by the server's clock.
    let mut times: Vec<u64> = list(&*hosts[0].store, "times").await.iter().map(|time| time.parse().unwrap()).collect();
    times.sort_unstable();
    let most = times.iter().map(|from| times.iter().filter(|at| (*from..from + SPAN_MS).contains(at)).count()).max();
    let took = times[times.len() - 1] - times[0];
    let shares: Vec<u64> = hosts.iter().map(|test| test.host.plugins()[0].metrics.snapshot().done).collect();
    println!("at most {most:?} jobs in any {SPAN_MS} ms, {JOBS} in {took} ms, by host {shares:?}");
    assert!(most <= Some(RATE as usize), "{most:?} in {SPAN_MS} ms");
    let fair = (JOBS / RATE - 1) * SPAN_MS;
    assert!((fair..fair + fair / 10 + LATE_MAX).contains(&took), "{took} ms, {fair} expected");
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_ends_in_the_dead_letters_and_the_rest_is_done_once() {
    let trigger = "batch = 50\nconcurrency = 2\nmax-attempts = 2\nretry-min = \"10ms\"\nretry-max = \"20ms\"";
    let limits = "[limits]\ndeadline = \"200ms\"";
    for (server, store) in both().await {
        let test = TestHost::on(store, components::QUEUE_JOB, &manifest(trigger, limits)).await.reading("jobs");
        push(&*test.store, "not JSON".to_owned(), PushOptions::default()).await;
        for number in 0..200 {
            push(&*test.store, job("done", &format!("{number:03}"), ""), PushOptions::default()).await;
            let poison = match number {
                20 => "trap",
                70 => "hang",
                120 => "reject",
                170 => "unheard-of",
                _ => continue,
            };
            push(&*test.store, job(poison, poison, ""), PushOptions::default()).await;
        }
        test.settled(205).await;
        let mut done = list(&*test.store, "order").await;
        done.sort_unstable();
        assert_eq!(done, (0..200).map(|number| format!("{number:03}")).collect::<Vec<_>>());
        let dead_letters = test.dead().await;
        let text = sandbar_tests::host::text;
        let by_job: BTreeMap<String, (String, String)> = dead_letters
            .iter()
            .map(|dead_letter| {
                (text(dead_letter, "payload"), (text(dead_letter, "reason"), text(dead_letter, "attempt")))
            })
            .collect();
        let expected = [
            ("not JSON".to_owned(), "payload: expected ident", "1"),
            (job("trap", "trap", ""), "this job panics", "2"),
            (job("hang", "hang", ""), "longer than `limits.deadline` (200ms)", "2"),
            (job("reject", "reject", ""), "this job is rejected", "1"),
            (job("unheard-of", "unheard-of", ""), "unheard-of", "1"),
        ];
        assert_eq!(by_job.len(), expected.len(), "{by_job:?}");
        for (payload, reason, attempt) in expected {
            let (found, at) = &by_job[&payload];
            assert!(found.contains(reason) && at == attempt, "{payload}: {found} at {at}");
        }
        drop(server);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_write_of_a_job_is_a_dead_letter_and_the_rest_stands() {
    for (server, store) in both().await {
        let trigger = "max-attempts = 1";
        let test = TestHost::on(store, components::QUEUE_JOB, &manifest(trigger, "")).await.reading("jobs");
        let effects = [Effect::Add { key: "text".to_owned(), by: 1 }];
        let settlement = Settlement::default();
        let commit = Commit { consumer: None, watched: &[], effects: &effects, settlement, leases: &[], atomic: true };
        test.store.commit(commit).await.unwrap();
        // In one batch, which is committed in parts because of the second: the first part's dead letter must leave
        // the second alone.
        test.store.set_paused(&queue(), true).await.unwrap();
        push(&*test.store, job("refused", "refused", ""), PushOptions::default()).await;
        push(&*test.store, job("trap", "trap", ""), PushOptions::default()).await;
        test.store.set_paused(&queue(), false).await.unwrap();
        test.settled(3).await;
        assert_eq!(list(&*test.store, "order").await, ["refused"]);
        let reasons = test.reasons().await;
        let has = |words| reasons.iter().any(|reason| reason.contains(words));
        assert!(reasons.len() == 2 && has("collections.list-push") && has("this job panics"), "{reasons:?}");
        assert_eq!(test.store.lengths(&queue()).await.unwrap().leased, 0);
        drop(server);
    }
}
