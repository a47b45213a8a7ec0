//! What the guests of the tests share: checks that reject with the place and what was found, and the count of those
//! passed.
//!
//! Each file in `examples/` is one component; its `//!` says which grants, configuration and batches it is written for.
//! `cargo build -p sandbar-test-guests --examples --target wasm32-wasip2 --release` builds all of them.

use sandbar_sdk::prelude::*;

/// Runs the checks of an event, and counts the event under `passed` where all of them hold.
///
/// # Errors
///
/// Those of the checks.
pub fn pass(event: &Event, checks: impl Fn(&Event) -> Result<(), Failure>) -> Result<(), Failure> {
    checks(event)?;
    cache::add("passed", 1)?;
    Ok(())
}

/// What a guest answers to an event whose field `do` it does not know.
#[must_use]
pub fn unknown(what: &str) -> Failure {
    Failure::Reject(format!("do: {what:?} is not something that this guest does"))
}

/// Rejects the event unless the condition holds.
#[macro_export]
macro_rules! check {
    ($condition:expr) => {
        if !$condition {
            let (file, line, text) = (file!(), line!(), stringify!($condition));
            return Err(sandbar_sdk::Failure::Reject(format!("{file}:{line}: this does not hold: {text}")));
        }
    };
}

/// Rejects the event unless both are equal.
#[macro_export]
macro_rules! check_eq {
    ($left:expr, $right:expr) => {
        match (&$left, &$right) {
            (left, right) => {
                if *left != *right {
                    let (file, line, text) = (file!(), line!(), stringify!($left));
                    let reason = format!("{file}:{line}: {text} is {left:?} and not {right:?}");
                    return Err(sandbar_sdk::Failure::Reject(reason));
                }
            }
        }
    };
}

/// Rejects the event unless the result is an error of this case of `sandbar_sdk::Error`, with a sentence in it.
#[macro_export]
macro_rules! check_error {
    ($result:expr, $case:ident) => {
        match $result {
            Err(sandbar_sdk::Error::$case(sentence)) if !sentence.is_empty() => {}
            other => {
                let (file, line, text, case) = (file!(), line!(), stringify!($result), stringify!($case));
                let reason = format!("{file}:{line}: {text} is {other:?} and not {case} with a sentence");
                return Err(sandbar_sdk::Failure::Reject(reason));
            }
        }
    };
}
