//! A process that works under a lock, again and again, which tests kill and stop.
//!
//! `lock-under-test URL SEED`. Under the lock `lock:shared` it reads the number `n`, rests for a moment, and commits
//! `n` + 1 together with an entry `{token}:{n + 1}` of the list `log`, relying on the lock alone. Commits that were
//! refused are counted in `refused`. Two processes inside at the same time would write the same number.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a program of the tests")]

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sandbar_core::config::StoreConfig;
use sandbar_store::held_lock::HeldLock;
use sandbar_store::{Claim, Commit, CommitError, Condition, Effect, End, Expiry, LockKey, StoreError, connect};

/// Short, so that dead and stopped holders are overtaken often.
const TTL_MS: u64 = 300;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StoreError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, seed] = arguments.as_slice() else { panic!("two arguments") };
    let mut random = StdRng::seed_from_u64(seed.parse().unwrap());
    let store = connect(&StoreConfig { url: url.clone(), ..StoreConfig::default() }).await?;
    let process = format!("{}", std::process::id());
    loop {
        let claim = Claim::new(LockKey::new("", "lock:shared"), &process, "lock-under-test", TTL_MS);
        let Some(lock) = HeldLock::acquire(&store, &claim, Duration::from_secs(60)).await? else { continue };
        let n: u64 = store.get("n").await?.map_or(0, |n| std::str::from_utf8(&n).unwrap().parse().unwrap());
        tokio::time::sleep(Duration::from_micros(random.random_range(0..3000))).await;
        let next = n + 1;
        let effects = [
            Effect::Set {
                key: "n".to_owned(),
                value: next.to_string().into(),
                expiry: Expiry::Never,
                condition: Condition::Always,
            },
            Effect::ListPush {
                key: "log".to_owned(),
                end: End::Back,
                values: vec![format!("{}:{next}", lock.token()).into()],
                keep: None,
            },
        ];
        let watched = [lock.watched()];
        let commit = Commit::plain(&effects, &watched);
        match store.commit(commit).await {
            Ok(_) => {}
            Err(CommitError::Conflict(_)) => _ = store.increment("refused", 1).await?,
            Err(error) => panic!("{error}"),
        }
        lock.release().await?;
    }
}
