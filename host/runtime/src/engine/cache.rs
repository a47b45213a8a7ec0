//! Compiled components on disk.
//!
//! A file is named by the digest of the component and by everything of the engine that its code depends on. The
//! folder is made for its owner alone and is not used where others may write to it: a process that can put a file
//! there can run code in this process. That the bytes are what this program wrote rests on this, and on nothing else.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use wasmtime::Engine;
use wasmtime::component::Component;

/// A folder of compiled components, or nothing.
#[derive(Debug, Clone)]
pub(super) struct CodeCache {
    folder: Option<PathBuf>,
}

impl CodeCache {
    /// Makes the folder where it is missing. Where it cannot be used, it says so once and does without.
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        let usable = |folder: &PathBuf| match prepare(folder) {
            Ok(()) => true,
            Err(reason) => {
                tracing::warn!(folder = %folder.display(), %reason, "compiled components are not kept on disk");
                false
            }
        };
        Self { folder: folder.filter(usable) }
    }

    pub(super) fn load_or_compile(&self, engine: &Engine, bytes: &[u8], digest: &str) -> wasmtime::Result<Component> {
        let Some(folder) = &self.folder else { return Component::new(engine, bytes) };
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let path = folder.join(format!("{digest}-{:016x}.cwasm", hasher.finish()));
        if path.is_file() {
            match deserialize(engine, &path) {
                Ok(component) => return Ok(component),
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "compiled code is damaged and is made anew");
                }
            }
        }
        let component = Component::new(engine, bytes)?;
        if let Err(error) = component.serialize().and_then(|code| write(folder, &path, &code)) {
            tracing::warn!(file = %path.display(), %error, "compiled code could not be kept");
        }
        Ok(component)
    }
}

/// The one place of the host that needs `unsafe`.
#[expect(unsafe_code, reason = "wasmtime trusts the file; see the module's text for why it may")]
fn deserialize(engine: &Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file lies in a folder that only this user can write to and was written by `write` below, whole or
    // not at all, from what `Component::serialize` answered. A file of another engine or version is refused by its
    // header.
    unsafe { Component::deserialize_file(engine, path) }
}

/// Writes beside the place and renames, so that no half a file is ever seen there.
fn write(folder: &Path, path: &Path, code: &[u8]) -> wasmtime::Result<()> {
    let file = tempfile::NamedTempFile::new_in(folder)?;
    std::fs::write(file.path(), code)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(unix)]
fn prepare(folder: &Path) -> Result<(), String> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};

    if !folder.is_dir() {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder).map_err(|error| error.to_string())?;
    }
    let mode = std::fs::metadata(folder).map_err(|error| error.to_string())?.permissions().mode();
    if mode & 0o022 != 0 {
        return Err(format!("others may write to it (mode {:o}); make it 700", mode & 0o777));
    }
    Ok(())
}

#[cfg(not(unix))]
fn prepare(folder: &Path) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())
}
