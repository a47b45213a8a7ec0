//! From a function to a component that runs at given times: what `schedule!` expands to.

use crate::failure::Failure;
use crate::types::Error;

pub use bindings::exports::sandbar::plugin::schedule::Instant;

/// What `wit-bindgen` makes of the export. The imports are those of [`crate::bindings`].
pub mod bindings {
    #![allow(unsafe_code, reason = "the canonical ABI passes pointers; the generator upholds it")]
    #![allow(missing_docs, unreachable_pub, unused_qualifications, reason = "generated")]

    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package sandbar:sdk-schedule;

            world ticks {
                export sandbar:plugin/schedule@0.1.0;
            }
        ",
        world: "sandbar:sdk-schedule/ticks",
        generate_all,
        pub_export_macro: true,
    });
}

/// Makes a function that runs a tick the schedule of this plugin. It may stand beside [`handler!`](crate::handler!).
///
/// The function takes an [`Instant`]: the name of the trigger, when the tick was due, and what time it is. `Ok(())`
/// commits what it wrote together with the note that the tick was run; an error (an [`Error`], a [`Failure`] or a
/// `String`) leaves that out and is noted in the run history. The tick is not run again, the next one is.
///
/// ```
/// use sandbar_sdk::prelude::*;
///
/// fn tick(now: &Instant) -> Result<(), Failure> {
///     let total = cache::get("visits")?.unwrap_or_default();
///     cache::set(&format!("visits:{}", now.due_ms), total, Duration::from_secs(86_400))?;
///     Ok(())
/// }
///
/// sandbar_sdk::schedule!(tick);
/// ```
#[macro_export]
macro_rules! schedule {
    ($tick:expr) => {
        const _: () = {
            #[allow(dead_code, reason = "only WebAssembly exports it")]
            struct Component;

            #[allow(dead_code, reason = "only WebAssembly exports it")]
            impl $crate::schedule::bindings::exports::sandbar::plugin::schedule::Guest for Component {
                fn tick(now: $crate::schedule::Instant) -> ::std::result::Result<(), ::std::string::String> {
                    $crate::schedule::run(&now, $tick)
                }
            }

            #[cfg(target_arch = "wasm32")]
    $crate::schedule::bindings::export!(Component with_types_in $crate::schedule::bindings);
        };
    };
}

/// Runs a tick.
///
/// # Errors
///
/// The failure in words.
pub fn run<E: Reason>(now: &Instant, tick: impl Fn(&Instant) -> Result<(), E>) -> Result<(), String> {
    tick(now).map_err(Reason::reason)
}

/// What a tick may fail with.
pub trait Reason {
    /// The sentence that the run history gets.
    fn reason(self) -> String;
}

impl Reason for String {
    fn reason(self) -> String {
        self
    }
}

impl Reason for Error {
    fn reason(self) -> String {
        self.to_string()
    }
}

impl Reason for Failure {
    fn reason(self) -> String {
        match self {
            Self::Reject(reason) => reason,
            Self::Retry(_) => "something failed that may pass, but a tick is run only once".to_owned(),
        }
    }
}
