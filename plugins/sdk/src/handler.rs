//! From a function to a component: what `handler!` and `batch_handler!` expand to.
//!
//! The cost an event is one host call (`for-event`) and no copy.

use crate::event::{Event, Outcome};
use crate::failure::Failure;
use crate::transaction;

/// Makes a function that handles one event the handler of this plugin.
///
/// For each event of a batch, in order, its writes are distinguished from those of the other events, and the function
/// is called; a [`Failure`] concerns that event alone.
///
/// ```
/// use sandbar_sdk::prelude::*;
///
/// fn handle(event: &Event) -> Result<(), Failure> {
///     cache::add(&format!("count:{}", event.text("camera")?), 1)?;
///     Ok(())
/// }
///
/// sandbar_sdk::handler!(handle);
/// ```
#[macro_export]
macro_rules! handler {
    ($handle:expr) => {
        $crate::export_handler!(|batch: ::std::vec::Vec<$crate::Event>| $crate::handler::each(&batch, $handle));
    };
}

/// Makes a function that handles a batch at once the handler of this plugin.
///
/// It takes `&[Event]` and answers a `Vec<Outcome>`, one for each event in their order, or a `Result` of that whose
/// error (a `String`) fails the batch as a whole. It calls [`transaction::for_event`] itself before it writes for an
/// event. For handlers that read for many events at once.
///
/// ```
/// use sandbar_sdk::prelude::*;
///
/// fn handle(batch: &[Event]) -> Vec<Outcome> {
///     batch.iter().map(|event| Outcome::from(count(event))).collect()
/// }
///
/// fn count(event: &Event) -> Result<(), Failure> {
///     transaction::for_event(&event.id)?;
///     cache::add("count", 1)?;
///     Ok(())
/// }
///
/// sandbar_sdk::batch_handler!(handle);
/// ```
#[macro_export]
macro_rules! batch_handler {
    ($handle:expr) => {
        $crate::export_handler!(|batch: ::std::vec::Vec<$crate::Event>| {
            $crate::handler::Answer::into_answer($handle(&batch))
        });
    };
}

/// The part that [`handler!`](crate::handler!) and [`batch_handler!`](crate::batch_handler!) share: exports a
/// function from `Vec<Event>` to `Result<Vec<Outcome>, String>`. Outside of WebAssembly it only checks the function's
/// type.
#[macro_export]
macro_rules! export_handler {
    ($handle:expr) => {
        const _: () = {
            #[allow(dead_code, reason = "only WebAssembly exports it")]
            struct Component;

            #[allow(dead_code, reason = "only WebAssembly exports it")]
            impl $crate::bindings::exports::sandbar::plugin::handler::Guest for Component {
                fn handle(
                    batch: ::std::vec::Vec<$crate::Event>,
                ) -> ::std::result::Result<::std::vec::Vec<$crate::Outcome>, ::std::string::String> {
                    ($handle)(batch)
                }
            }

            #[cfg(target_arch = "wasm32")]
    $crate::bindings::export!(Component with_types_in $crate::bindings);
        };
    };
}

/// What a batch handler may answer.
pub trait Answer {
    /// As the host takes it.
    ///
    /// # Errors
    ///
    /// The sentence with which the batch has failed as a whole: nothing that it wrote is committed, and the host looks
    /// for the event at fault by running the batch again in halves.
    fn into_answer(self) -> Result<Vec<Outcome>, String>;
}

impl Answer for Vec<Outcome> {
    fn into_answer(self) -> Result<Vec<Outcome>, String> {
        Ok(self)
    }
}

impl Answer for Result<Vec<Outcome>, String> {
    fn into_answer(self) -> Result<Vec<Outcome>, String> {
        self
    }
}

/// Calls a function for each event of a batch, its writes told apart from those of the others.
///
/// # Errors
///
/// Fails the batch where the host does not know an event of its own batch, which is a fault of the host.
pub fn each(batch: &[Event], handle: impl Fn(&Event) -> Result<(), Failure>) -> Result<Vec<Outcome>, String> {
    let mut outcomes = Vec::with_capacity(batch.len());
    for event in batch {
        transaction::for_event(&event.id).map_err(|error| error.to_string())?;
        outcomes.push(Outcome::from(handle(event)));
    }
    Ok(outcomes)
}
