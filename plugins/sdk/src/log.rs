//! Into the host's structured log, which adds the plugin's name and version.

use crate::bindings::wasi::logging::logging as host;
pub use crate::bindings::wasi::logging::logging::Level;

/// Writes a message with a context: a word that groups messages, such as the name of a part of the plugin.
pub fn write(level: Level, context: &str, message: impl AsRef<str>) {
    host::log(level, context, message.as_ref());
}

/// The values of variables and the flow of control.
pub fn trace(message: impl AsRef<str>) {
    write(Level::Trace, "", message);
}

/// For debugging a fault.
pub fn debug(message: impl AsRef<str>) {
    write(Level::Debug, "", message);
}

/// For watching the plugin's normal work.
pub fn info(message: impl AsRef<str>) {
    write(Level::Info, "", message);
}

/// Something is not as it should be.
pub fn warn(message: impl AsRef<str>) {
    write(Level::Warn, "", message);
}

/// Something has failed.
pub fn error(message: impl AsRef<str>) {
    write(Level::Error, "", message);
}

/// The plugin cannot go on.
pub fn critical(message: impl AsRef<str>) {
    write(Level::Critical, "", message);
}
