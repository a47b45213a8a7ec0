//! The order in which the batches of one worker run.
//!
//! Where only one batch may run at a time they run in the order in which they were read, each from its first call to
//! the end of its commit: what a plugin reads then has been written by all batches before. Elsewhere they run as they
//! please. Knows nothing of batches; bounded by their number.

use tokio::sync::oneshot;

/// Gives turns.
#[derive(Debug)]
pub(super) struct BatchOrder {
    one_at_a_time: bool,
    /// Ends with the batch that was given the last turn.
    last: Option<oneshot::Receiver<()>>,
}

impl BatchOrder {
    /// BatchOrder for batches of which so many run at a time.
    pub(super) fn new(concurrency: u32) -> Self {
        Self { one_at_a_time: concurrency == 1, last: None }
    }

    /// Has a batch run when its turn has come.
    pub(super) fn next<F: Future>(&mut self, batch: F) -> impl Future<Output = F::Output> + use<F> {
        let turn = self.one_at_a_time.then(|| {
            let (ends, ended) = oneshot::channel();
            (self.last.replace(ended), ends)
        });
        async move {
            // The sender is never used: that it is dropped lets the next batch begin, however this one ends.
            let (before, _ends) = turn.unzip();
            if let Some(before) = before.flatten() {
                let _ended: Result<(), _> = before.await;
            }
            batch.await
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tokio::task::JoinSet;

    use super::*;

    /// Numbers of batches as they begin, and again as they end.
    async fn run(concurrency: u32) -> Vec<u32> {
        let (mut turns, seen, mut tasks) =
            (BatchOrder::new(concurrency), Arc::new(Mutex::new(Vec::new())), JoinSet::new());
        for number in 0..20 {
            let seen = seen.clone();
            let batch = async move {
                seen.lock().push(number);
                for _ in number..20 {
                    tokio::task::yield_now().await;
                }
                seen.lock().push(number);
            };
            tasks.spawn(turns.next(batch));
        }
        tasks.join_all().await;
        seen.lock().clone()
    }

    #[tokio::test]
    async fn one_at_a_time_means_in_order() {
        let in_order: Vec<u32> = (0..20).flat_map(|number| [number, number]).collect();
        assert_eq!(run(1).await, in_order);
        assert_ne!(run(2).await, in_order);
    }

    #[tokio::test]
    async fn a_batch_that_is_dropped_lets_the_next_one_run() {
        let mut turns = BatchOrder::new(1);
        drop(turns.next(std::future::pending::<()>()));
        turns.next(async {}).await;
    }
}
