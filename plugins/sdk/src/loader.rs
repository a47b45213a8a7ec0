//! The source of last resort of [`cache::fetch`](crate::cache::fetch): what `loader!` expands to.

pub use crate::bindings::loader::exports::sandbar::plugin::loader::Loaded;
use crate::failure::Failure;

/// Makes a function that loads one key the loader of this plugin.
///
/// It takes a `&str`, the key as `cache::fetch` names it, and answers a `Result` of an optional value: none where the
/// source has nothing, a [`Failure`] where it could not be asked. It runs for one key after the other where the host
/// asks for several; `batch_loader!` is for sources that answer many keys at once. What it writes is committed when
/// it ends well. The plugin needs the grant to write the keys that it loads: the host sets them to what it answers.
///
/// ```
/// use sandbar_sdk::prelude::*;
///
/// fn load(key: &str) -> Result<Option<Vec<u8>>, Failure> {
///     let symbol = key.strip_prefix("quote:").ok_or_else(|| Failure::reject("not a quote"))?;
///     Ok(cache::get(&format!("source:{symbol}"))?)
/// }
///
/// sandbar_sdk::loader!(load);
/// ```
#[macro_export]
macro_rules! loader {
    ($load:expr) => {
        $crate::export_loader!(|keys: ::std::vec::Vec<::std::string::String>| $crate::loader::each(&keys, $load));
    };
}

/// Makes a function that loads 1 to 100 keys at once the loader of this plugin.
///
/// It takes `&[String]` and answers a `Vec<Loaded>`, one for each key in their order, or a `Result` of that whose
/// error (a `String`) says that none could be loaded.
///
/// ```
/// use sandbar_sdk::loader::Loaded;
///
/// fn load(keys: &[String]) -> Vec<Loaded> {
///     keys.iter().map(|key| Loaded::Value(key.clone().into_bytes())).collect()
/// }
///
/// sandbar_sdk::batch_loader!(load);
/// ```
#[macro_export]
macro_rules! batch_loader {
    ($load:expr) => {
        $crate::export_loader!(|keys: ::std::vec::Vec<::std::string::String>| {
            $crate::loader::Answer::into_answer($load(&keys))
        });
    };
}

/// The part that [`loader!`](crate::loader!) and [`batch_loader!`](crate::batch_loader!) share. Outside of
/// WebAssembly it only checks the function's type.
#[macro_export]
macro_rules! export_loader {
    ($load:expr) => {
        const _: () = {
            #[allow(dead_code, reason = "only WebAssembly exports it")]
            struct Component;

            #[allow(dead_code, reason = "only WebAssembly exports it")]
            impl $crate::bindings::loader::exports::sandbar::plugin::loader::Guest for Component {
                fn load(
                    keys: ::std::vec::Vec<::std::string::String>,
                ) -> ::std::result::Result<::std::vec::Vec<$crate::loader::Loaded>, ::std::string::String> {
                    ($load)(keys)
                }
            }

            #[cfg(target_arch = "wasm32")]
    $crate::bindings::loader::export!(Component with_types_in $crate::bindings::loader);
        };
    };
}

/// What a batch loader may answer.
pub trait Answer {
    /// As the host takes it.
    ///
    /// # Errors
    ///
    /// The sentence that says why no key could be loaded.
    fn into_answer(self) -> Result<Vec<Loaded>, String>;
}

impl Answer for Vec<Loaded> {
    fn into_answer(self) -> Result<Vec<Loaded>, String> {
        Ok(self)
    }
}

impl Answer for Result<Vec<Loaded>, String> {
    fn into_answer(self) -> Result<Vec<Loaded>, String> {
        self
    }
}

impl<V: Into<Vec<u8>>> From<Result<Option<V>, Failure>> for Loaded {
    fn from(result: Result<Option<V>, Failure>) -> Self {
        match result {
            Ok(Some(value)) => Self::Value(value.into()),
            Ok(None) => Self::Missing,
            Err(Failure::Reject(reason)) => Self::Failed(reason),
            Err(Failure::Retry(_)) => Self::Failed("the source cannot be asked now".to_owned()),
        }
    }
}

/// Calls a function for each key.
///
/// # Errors
///
/// None: what fails, fails for its key alone.
pub fn each<V: Into<Vec<u8>>>(
    keys: &[String],
    load: impl Fn(&str) -> Result<Option<V>, Failure>,
) -> Result<Vec<Loaded>, String> {
    Ok(keys.iter().map(|key| Loaded::from(load(key))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_answer() {
        let load = |key: &str| match key {
            "a" => Ok(Some("value")),
            "b" => Ok(None),
            "c" => Err(Failure::retry()),
            _ => Err(Failure::reject("no")),
        };
        let keys = ["a", "b", "c", "d"].map(str::to_owned);
        let loaded = each(&keys, load).expect("an answer for each");
        assert!(matches!(&loaded[..], [Loaded::Value(_), Loaded::Missing, Loaded::Failed(_), Loaded::Failed(_)]));
    }
}
