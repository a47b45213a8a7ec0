//! Schedules: when ticks run, what becomes of those that cannot, and that each is run once by the whole fleet.

mod kill;

use std::sync::Arc;
use std::time::Duration;

use sandbar_core::config::StoreConfig;
use sandbar_store::embedded::Embedded;
use sandbar_store::{Commit, Condition, Effect, Expiry, Store, connect};
use sandbar_tests::host::PATIENCE;
use sandbar_tests::{RedisServer, TestHost, components, poll_until};
use sandbar_triggers::schedule::{Keys, Run, TickOutcome};

/// So far apart that none is due while a test runs.
const RARE: &str = "every = \"30days\"";
const RARE_MS: u64 = 30 * 86_400_000;
/// Hosts know the clock of the store about so well.
const CLOCK_MS: u64 = 15;
/// Nothing is dropped.
const ALL: &str = "missed = \"catch-up\"\noverlap = \"wait\"\ncatch-up-max = 10000";

/// Runs a test once on each store.
async fn on_both(run: impl AsyncFn(Arc<dyn Store>)) {
    run(Arc::new(Embedded::new())).await;
    let server = RedisServer::start();
    run(connect(&StoreConfig { url: server.url(), ..StoreConfig::default() }).await.unwrap()).await;
}

/// A manifest named `guest` with these schedules.
fn manifest(schedules: &[&str]) -> String {
    let trigger = |rest: &&str| format!("[[trigger]]\ntype = \"schedule\"\n{rest}\n");
    let triggers: String = schedules.iter().map(trigger).collect();
    format!("name = \"guest\"\n{triggers}[grants]\nread = [\"*\"]\nwrite = [\"*\"]\n")
}

fn keys(name: &str) -> Keys {
    Keys::new("", "guest", name)
}

async fn set(store: &dyn Store, key: &str, value: &str) {
    let (expiry, condition) = (Expiry::Never, Condition::Always);
    let effects = [Effect::Set { key: key.to_owned(), value: value.to_owned().into(), expiry, condition }];
    store.commit(Commit::plain(&effects, &[])).await.unwrap();
}

/// The runs of a schedule, the oldest first.
async fn history(store: &dyn Store, name: &str) -> Vec<Run> {
    let lines = store.list_range(&keys(name).history, 0, -1).await.unwrap();
    lines.iter().rev().map(|line| Run::parse(line).unwrap()).collect()
}

/// Waits for so many runs.
async fn runs(store: &dyn Store, name: &str, count: usize) -> Vec<Run> {
    poll_until(PATIENCE, "ticks are run", async || history(store, name).await.len() >= count).await;
    history(store, name).await
}

/// The ticks whose writes are committed.
async fn ticks(store: &dyn Store, name: &str) -> Vec<u64> {
    let values = store.list_range(&format!("ticks:{name}"), 0, -1).await.unwrap();
    values.iter().map(|value| std::str::from_utf8(value).unwrap().parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ticks_run_when_they_are_due_and_are_noted() {
    on_both(async |store| {
        let manifest = manifest(&[&format!("every = \"100ms\"\n{ALL}")]);
        let test = TestHost::on(store.clone(), components::TICK_ALL, &manifest).await;
        let begun = store.now_ms();
        let runs = runs(&*store, "schedule", 8).await;
        assert!(runs[0].tick.abs_diff(begun) < 5000, "nothing is caught up for a schedule that is new");
        for (at, run) in runs.iter().enumerate() {
            assert_eq!(run.tick, runs[0].tick + 100 * at as u64);
            assert!(run.tick % 100 == 0 && run.started >= run.tick);
            assert_eq!((run.outcome, run.error.as_ref(), run.skipped), (TickOutcome::Done, None, 0));
            assert_eq!((run.host.as_str(), run.version.len()), (runs[0].host.as_str(), 64));
        }
        assert_eq!(test.host.shutdown().await, sandbar_server::host::Drained::Clean);
        let (done, last) = (ticks(&*store, "schedule").await, test.value(&keys("schedule").last).await);
        assert_eq!(done, history(&*store, "schedule").await.iter().map(|run| run.tick).collect::<Vec<_>>());
        assert_eq!(last, done.last().map(u64::to_string));
        assert_eq!(store.look(&keys("schedule").lock).await, Ok(None));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_ticks_are_skipped_or_caught_up() {
    on_both(async |store| {
        let newest = store.now_ms() / RARE_MS * RARE_MS;
        for name in ["skip", "catch"] {
            set(&*store, &keys(name).last, &(newest - 10 * RARE_MS).to_string()).await;
        }
        let manifest = manifest(&[
            &format!("name = \"skip\"\nmissed = \"skip\"\n{RARE}"),
            &format!("name = \"catch\"\nmissed = \"catch-up\"\ncatch-up-max = 4\n{RARE}"),
            "name = \"clock\"\nevery = \"50ms\"",
        ]);
        let _test = TestHost::on(store.clone(), components::TICK_ALL, &manifest).await;
        let caught = runs(&*store, "catch", 4).await;
        let expected: Vec<u64> = (0..4).rev().map(|n| newest - n * RARE_MS).collect();
        assert_eq!(caught.iter().map(|run| run.tick).collect::<Vec<_>>(), expected);
        assert_eq!(caught.iter().map(|run| run.skipped).collect::<Vec<_>>(), [6, 0, 0, 0]);
        runs(&*store, "clock", 10).await;
        assert_eq!(ticks(&*store, "skip").await, [] as [u64; 0]);
        assert_eq!(ticks(&*store, "catch").await, expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_that_is_due_while_another_runs_is_skipped_or_waits() {
    on_both(async |store| {
        for name in ["skip", "wait"] {
            set(&*store, &format!("do:{name}"), "250").await;
        }
        let manifest = manifest(&[
            "name = \"skip\"\nevery = \"100ms\"\noverlap = \"skip\"",
            "name = \"wait\"\nevery = \"100ms\"\noverlap = \"wait\"",
        ]);
        let test = TestHost::on(store.clone(), components::TICK_ALL, &manifest).await;
        runs(&*store, "skip", 6).await;
        runs(&*store, "wait", 6).await;
        test.host.shutdown().await;
        let skipped = history(&*store, "skip").await;
        for pair in skipped.windows(2) {
            assert!(pair[1].tick + 1 >= pair[0].started + pair[0].duration_ms, "none was due meanwhile: {pair:?}");
        }
        let waited = history(&*store, "wait").await;
        let ended = |run: &Run| run.started + run.duration_ms;
        assert!(
            waited.windows(2).all(|pair| pair[1].started + CLOCK_MS >= ended(&pair[0])),
            "none overlaps: {waited:?}"
        );
        // While a slow store commits one, another may become due, which is the newest then.
        assert!(waited.windows(2).any(|pair| pair[1].tick < ended(&pair[0])), "it was due, and waited: {waited:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_that_fails_is_noted_and_not_run_again() {
    on_both(async |store| {
        for what in ["fail", "trap", "hang", "refused"] {
            set(&*store, &format!("do:{what}"), what).await;
        }
        let schedule = |name: &str, rest: &str| format!("name = \"{name}\"\nevery = \"300ms\"\n{rest}");
        let manifest = manifest(&[
            &schedule("fail", ""),
            &schedule("trap", "history = 2"),
            &schedule("hang", "deadline = \"60ms\""),
            &schedule("refused", ""),
        ]);
        let test = TestHost::on(store.clone(), components::TICK_ALL, &manifest).await;
        for (name, outcome, words) in [
            ("fail", TickOutcome::Failed, "internal: this tick fails"),
            ("hang", TickOutcome::Failed, "deadline` (60ms)"),
            ("trap", TickOutcome::Failed, "this tick traps"),
        ] {
            runs(&*store, name, 2).await;
            let key = format!("runs:{name}");
            poll_until(PATIENCE, "it goes on", async || {
                test.value(&key).await.is_some_and(|runs| runs.parse::<u32>().unwrap() > 3)
            })
            .await;
            let runs = history(&*store, name).await;
            assert!(runs.iter().all(|run| run.outcome == outcome), "{runs:?}");
            assert!(runs.iter().all(|run| run.error.as_ref().unwrap().contains(words)), "{runs:?}");
            assert!(runs.windows(2).all(|pair| pair[0].tick < pair[1].tick), "each once: {runs:?}");
            assert_eq!(ticks(&*store, name).await, [] as [u64; 0], "what it wrote is skipped");
        }
        assert_eq!(history(&*store, "trap").await.len(), 2, "the history is bounded");
        let refused = runs(&*store, "refused", 2).await;
        assert_eq!((refused[0].outcome, refused[1].outcome), (TickOutcome::Done, TickOutcome::Refused));
        assert!(refused[1].error.as_ref().unwrap().contains("collections.list-push"), "{refused:?}");
        assert_eq!(ticks(&*store, "refused").await[0], refused[0].tick, "its other writes stand");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_tick_are_committed_only_under_the_lock() {
    on_both(async |store| {
        set(&*store, "do:schedule", "parts").await;
        set(&*store, &keys("schedule").last, &(store.now_ms() / RARE_MS * RARE_MS - 1).to_string()).await;
        let manifest = manifest(&[&format!("{RARE}\nmissed = \"catch-up\"\ndeadline = \"1m\"")]);
        let test = TestHost::on(store.clone(), components::TICK_ALL, &manifest).await;
        poll_until(PATIENCE, "the first part is committed", async || test.value("parts").await.is_some()).await;
        // Another host could run the tick from now on.
        assert!(store.break_open(&keys("schedule").lock).await.unwrap().is_some());
        set(&*store, "go", "1").await;
        let runs = runs(&*store, "schedule", 1).await;
        assert_eq!(runs[0].outcome, TickOutcome::Done);
        assert_eq!(test.value("runs:schedule").await.as_deref(), Some("2"), "it was run again under a new lock");
        // The first part of both runs, and the second of the second alone.
        assert_eq!(test.value("parts").await.as_deref(), Some("3"));
        assert_eq!(ticks(&*store, "schedule").await.len(), 2, "its first part stands twice");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jitter_delays_within_its_bound() {
    on_both(async |store| {
        let manifest = manifest(&["every = \"100ms\"\njitter = \"90ms\""]);
        let test = TestHost::on(store.clone(), components::TICK_ALL, &manifest).await;
        runs(&*store, "schedule", 12).await;
        test.host.shutdown().await;
        let mut delays: Vec<u64> =
            history(&*store, "schedule").await.iter().map(|run| run.started - run.tick).collect();
        delays.sort_unstable();
        assert!(delays[delays.len() - 1] - delays[0] > 20, "{delays:?}");
        assert!(delays[delays.len() / 2] <= 95, "{delays:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cron_expression_with_seconds_and_a_handler_beside_it() {
    on_both(async |store| {
        let manifest = "name = \"guest\"\n\
            [[trigger]]\ntype = \"stream\"\nstream = \"events\"\nstart = \"0\"\n\
            [[trigger]]\ntype = \"schedule\"\ncron = \"* * * * * *\"\ntime-zone = \"Asia/Shanghai\"\n\
            [grants]\nwrite = [\"events\", \"ticks\"]\n";
        let test = TestHost::on(store.clone(), components::TICK_AND_HANDLE, manifest).await;
        let runs = runs(&*store, "schedule", 2).await;
        assert!(runs.iter().all(|run| run.tick % 1000 == 0 && run.outcome == TickOutcome::Done), "{runs:?}");
        let count = test.value("ticks").await.unwrap().parse::<usize>().unwrap();
        assert!(count >= 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_share_the_ticks() {
    on_both(async |store| {
        let manifest = manifest(&[&format!("every = \"50ms\"\n{ALL}")]);
        let mut hosts = Vec::new();
        for _ in 0..4 {
            hosts.push(TestHost::on(store.clone(), components::TICK_ALL, &manifest).await);
        }
        runs(&*store, "schedule", 40).await;
        for test in hosts {
            test.host.shutdown().await;
        }
        let done = ticks(&*store, "schedule").await;
        assert!(done.windows(2).all(|pair| pair[0] + 50 == pair[1]), "each once, none skipped: {done:?}");
        let counted = store.get("runs:schedule").await.unwrap().unwrap();
        assert_eq!(counted, done.len().to_string().as_bytes(), "no tick ran in vain");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_schedules_are_refused() {
    let error = |rest: &str| sandbar_core::manifest::Manifest::parse(&manifest(&[rest])).unwrap_err().to_string();
    assert!(error("").contains("either `cron` or `every`"));
    assert!(error("every = \"1s\"\ncron = \"* * * * *\"").contains("either `cron` or `every`"));
    assert!(error("cron = \"* * * *\"").contains("no cron expression"));
    assert!(error("cron = \"* * * * *\"\ntime-zone = \"Mars/Olympus\"").contains("no time zone"));
    assert!(error("every = \"1ms\"").contains("trigger.every"));
    let two = sandbar_core::manifest::Manifest::parse(&manifest(&["every = \"1s\"", "every = \"2s\""]));
    assert!(two.unwrap_err().to_string().contains("two schedules"));
    let test = TestHost::embedded(components::TICK_ALL, "name = \"guest\"").await;
    let error = test.load(components::HANDLE_COUNT, &manifest(&["every = \"1s\""])).await.unwrap_err().to_string();
    assert!(error.contains("sandbar:plugin/schedule"), "{error}");
    tokio::time::timeout(Duration::from_secs(5), test.host.shutdown()).await.unwrap();
}
