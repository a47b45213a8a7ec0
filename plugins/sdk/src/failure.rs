//! `Failure`: why a handler could not handle an event, and what is to become of the event.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt::Write as _;
use std::time::Duration;

use crate::event::Outcome;
use crate::types::Error;

/// The longest delay before a retry, one day in milliseconds. Longer ones are cut to it.
const RETRY_MS_MAX: u64 = 86_400_000;

/// What a handler answers when it has not handled an event.
///
/// Every error type becomes a failure with `?`: an [`Error`] of the store that may pass by itself (`unavailable`,
/// `timed-out`, `conflict`, `internal`) asks for a retry, all other errors reject the event with their text, causes
/// included. (As with `anyhow`, `Failure` is therefore not an error type itself.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The event can never be handled: it is dead-lettered with this reason (the host cuts it to 4,096 bytes).
    Reject(String),
    /// The event is to be handled again after this time (at most one day), or, without a time, after an exponential
    /// back-off. It counts as a failed attempt.
    Retry(Option<Duration>),
}

impl Failure {
    /// The event can never be handled, for this reason.
    pub fn reject(reason: impl Into<String>) -> Self {
        Self::Reject(reason.into())
    }

    /// The event is to be handled again, after a time that grows with its attempts.
    #[must_use]
    pub fn retry() -> Self {
        Self::Retry(None)
    }

    /// The event is to be handled again after this time.
    #[must_use]
    pub fn retry_after(time: Duration) -> Self {
        Self::Retry(Some(time))
    }
}

impl<E: StdError + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        match (&error as &dyn Any).downcast_ref::<Error>() {
            Some(store) if store.is_transient() => Self::Retry(None),
            _ => Self::Reject(with_causes(&error)),
        }
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Reject(reason) => Self::Reject(reason),
            Failure::Retry(time) => Self::Retry(time.map(|time| milliseconds(time).min(RETRY_MS_MAX))),
        }
    }
}

impl From<Result<(), Failure>> for Outcome {
    fn from(result: Result<(), Failure>) -> Self {
        result.map_or_else(Self::from, |()| Self::Done)
    }
}

/// A duration in whole milliseconds, rounded up, so that what is not zero does not become zero.
pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// An error's text with those of its causes behind it.
fn with_causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string does not fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(error: Error) -> Failure {
        let run = || -> Result<(), Failure> { Err(error)? };
        run().expect_err("the error is passed on")
    }

    #[test]
    fn errors_that_may_pass_are_retried_and_the_others_rejected_with_their_text() {
        let text = || "key `a`".to_owned();
        for error in
            [Error::Unavailable(text()), Error::TimedOut(text()), Error::Conflict(text()), Error::Internal(text())]
        {
            assert_eq!(failed(error), Failure::Retry(None));
        }
        assert_eq!(failed(Error::Denied(text())), Failure::reject("denied: key `a`"));
        assert_eq!(failed(Error::Invalid(text())), Failure::reject("invalid: key `a`"));
        assert_eq!(failed(Error::WrongType(text())), Failure::reject("wrong-type: key `a`"));
        assert_eq!(failed(Error::Limit(text())), Failure::reject("limit: key `a`"));
    }

    #[test]
    fn errors_of_libraries_reject() {
        let run = || -> Result<u8, Failure> { Ok("x".parse::<u8>()?) };
        assert_eq!(run(), Err(Failure::reject("invalid digit found in string")));
    }

    #[test]
    fn retry_times_are_rounded_up_and_cut_to_a_day() {
        let ms = |time| match Outcome::from(Failure::retry_after(time)) {
            Outcome::Retry(Some(ms)) => ms,
            other => panic!("{other:?}"),
        };
        assert_eq!(ms(Duration::from_nanos(1)), 1);
        assert_eq!(ms(Duration::from_millis(50)), 50);
        assert_eq!(ms(Duration::MAX), RETRY_MS_MAX);
    }
}
