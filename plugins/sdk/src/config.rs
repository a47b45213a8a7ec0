//! The `[config]` table of the plugin's manifest. It stays the same as long as the instance lives.

use std::fmt::Display;
use std::str::FromStr;

use crate::bindings::wasi::config::store as host;
use crate::types::Error;

/// The value under a name; none where the table has no such name.
///
/// # Errors
///
/// `unavailable` or `internal` where the host cannot read its configuration.
pub fn get(name: &str) -> Result<Option<String>, Error> {
    host::get(name).map_err(Error::from)
}

/// The whole table.
///
/// # Errors
///
/// Those of [`get`].
pub fn get_all() -> Result<Vec<(String, String)>, Error> {
    host::get_all().map_err(Error::from)
}

/// The value under a name as whatever can be parsed from text; none where the table has no such name.
///
/// # Errors
///
/// `invalid`, naming the value, where it cannot be parsed; and those of [`get`].
pub fn parse<T>(name: &str) -> Result<Option<T>, Error>
where
    T: FromStr,
    T::Err: Display,
{
    let Some(text) = get(name)? else { return Ok(None) };
    text.parse().map(Some).map_err(|error| Error::Invalid(format!("config `{name}`: {error} in {text:?}")))
}

impl From<host::Error> for Error {
    fn from(error: host::Error) -> Self {
        match error {
            host::Error::Upstream(text) => Self::Unavailable(text),
            host::Error::Io(text) => Self::Internal(text),
        }
    }
}
