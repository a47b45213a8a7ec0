//! The environment and the files of the machine.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sandbar_core::secret::{SECRET_BYTES_MAX, Sources};

/// The environment and the files of the machine that the host runs on.
#[derive(Debug, Clone)]
pub struct Machine {
    folder: PathBuf,
}

impl Machine {
    /// `folder` is what paths are relative to.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }
}

impl Sources for Machine {
    fn variable(&self, name: &str) -> Option<String> {
        env::var(name).ok()
    }

    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let path = self.folder.join(path);
        // Opening a pipe would wait for a writer.
        if !fs::metadata(&path)?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let mut bytes = Vec::new();
        File::open(&path)?.take(SECRET_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_below_the_folder_and_no_further_than_needed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("key"), "hunter2").unwrap();
        fs::write(folder.path().join("large"), vec![0; 10 * SECRET_BYTES_MAX]).unwrap();
        let machine = Machine::new(folder.path());
        assert_eq!(machine.file(Path::new("key")).unwrap(), b"hunter2");
        assert_eq!(machine.file(Path::new("large")).unwrap().len(), SECRET_BYTES_MAX + 1);
        assert!(machine.file(Path::new(".")).unwrap_err().to_string().contains("no regular file"));
        assert!(machine.file(Path::new("none")).is_err());
        assert_eq!(machine.variable("SANDBAR_NO_SUCH_VARIABLE"), None);
    }
}
