//! `sandbar.toml` is read or refused, and its secrets are never in what a log shows.
#![no_main]

use std::io;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sandbar_core::config::Config;
use sandbar_core::secret::Sources;

/// No variable is set, and no file is there.
struct Nothing;

impl Sources for Nothing {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fuzz_target!(|text: &str| {
    let Ok(mut config) = Config::parse(text) else { return };
    assert!(!config.tenants.is_empty());
    let _ = config.folders().count();
    let _ = config.resolve(&Nothing);
    let _ = format!("{config:?}");
});
