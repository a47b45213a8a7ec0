//! `sandbar:plugin/transaction`.

use super::state::State;
use crate::bindings::sandbar::plugin::transaction::Host;
use crate::bindings::sandbar::plugin::types::Error;
use crate::commit::{CallCommit, Delivery, effects};
use sandbar_store::CommitError;
use sandbar_store::held_lock::release_all;

/// What a commit is called on a recording.
const QUESTION: &str = "transaction.commit";

impl Host for State {
    fn for_event(&mut self, id: String) -> Result<(), Error> {
        // Events are mostly named in their order, so the next one is looked at first.
        let next = self.call.current.map_or(0, |current| current.saturating_add(1));
        let is_it = |index: &u32| self.call.events.get(usize::try_from(*index).unwrap_or(usize::MAX)) == Some(&id);
        let found = Some(next).filter(is_it).or_else(|| {
            let at = self.call.events.iter().position(|event| *event == id)?;
            u32::try_from(at).ok()
        });
        match found {
            Some(index) => {
                self.call.current = Some(index);
                self.output.event(index);
                Ok(())
            }
            None => Err(Error::Invalid(format!("the batch has no event `{id}`"))),
        }
    }

    async fn commit(&mut self) -> Result<(), Error> {
        self.counted()?;
        let recorder = self.recorder_slot.recorder();
        if let Some(recorder) = &recorder {
            if recorder.is_replaying() {
                recorder.commits(&self.call.take().writes);
                return recorder.find_once::<bool, Error>(QUESTION).unwrap_or(Ok(true)).map(drop);
            }
            recorder.commits(self.call.writes());
        }
        let committed = self.commit_now().await;
        if let Some(recorder) = recorder {
            recorder.note(QUESTION.to_owned(), committed.as_ref().map(|()| &true));
        }
        committed
    }

    async fn discard(&mut self) -> Result<(), Error> {
        self.counted()?;
        self.call.take();
        release_all(&self.call.locks.settled()).await;
        Ok(())
    }
}

impl State {
    /// Commits what was written so far.
    async fn commit_now(&mut self) -> Result<(), Error> {
        let mut ended = self.call.take();
        let (effects, locks, scope) = (effects(ended.writes), self.call.locks.settled(), self.call.scope.clone());
        let delivery = match &scope {
            Some(scope) => Delivery::from(scope),
            None if self.call.falls_back => Delivery::Fallback,
            None => Delivery::None,
        };
        let (watched, taken) = (&ended.watched, &mut ended.taken);
        let commit = CallCommit { effects: &effects, own_effects: 0, watched, taken, locks: &locks, delivery };
        match commit.make(&self.context.clone()).await {
            Ok(committed) => match committed.refused.into_iter().next() {
                None => Ok(()),
                Some(refused) => Err(Error::WrongType(refused.to_string())),
            },
            Err(CommitError::Unacceptable(error)) => Err(error.into()),
            Err(error @ (CommitError::Fenced | CommitError::Conflict(_))) => Err(Error::Conflict(error.to_string())),
            Err(error @ (CommitError::Refused(_) | CommitError::Unknown(_))) => {
                self.call.store_failed = true;
                Err(Error::Unavailable(error.to_string()))
            }
        }
    }
}
