//! Which of the files that cargo made is the component.

use std::path::{Path, PathBuf};

use cargo_metadata::Message;

use super::BuildError;

/// The `.wasm` files that cargo says it made of one folder's package.
#[derive(Debug)]
pub(super) struct Artifacts {
    folder: PathBuf,
    components: Vec<PathBuf>,
}

impl Artifacts {
    /// None yet.
    pub(super) fn new(folder: &Path) -> Self {
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        Self { folder, components: Vec::new() }
    }

    /// Looks at one of cargo's messages. Dependencies are reported too: only files of the folder's own package count.
    pub(super) fn note(&mut self, message: &Message) {
        let Message::CompilerArtifact(artifact) = message else { return };
        let own = Path::new(&artifact.manifest_path).parent() == Some(&self.folder);
        if own {
            let files = artifact.filenames.iter().filter(|file| file.extension() == Some("wasm"));
            self.components.extend(files.map(|file| file.as_std_path().to_owned()));
        }
    }

    /// The one component.
    pub(super) fn component(mut self) -> Result<PathBuf, BuildError> {
        let found = self.components.len();
        match self.components.pop() {
            Some(component) if found == 1 => Ok(component),
            _ => Err(BuildError::NotOneComponent { folder: self.folder, found }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(manifest: &str, file: &str) -> Message {
        let text = format!(
            r#"{{"reason":"compiler-artifact","package_id":"p","manifest_path":"{manifest}","target":{{"kind":["cdylib"],
            "crate_types":["cdylib"],"name":"p","src_path":"/p/src/lib.rs","edition":"2024","doc":true,"doctest":false,"test":true}},
            "profile":{{"opt_level":"3","debuginfo":0,"debug_assertions":false,"overflow_checks":false,"test":false}},
            "features":[],"filenames":["{file}"],"executable":null,"fresh":false}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn only_the_folders_own_component_counts() {
        let mut artifacts = Artifacts::new(Path::new("/p"));
        artifacts.note(&message("/p/Cargo.toml", "/t/p.wasm"));
        artifacts.note(&message("/p/Cargo.toml", "/t/libp.rlib"));
        artifacts.note(&message("/dependency/Cargo.toml", "/t/d.wasm"));
        assert_eq!(artifacts.component().unwrap(), Path::new("/t/p.wasm"));
    }

    #[test]
    fn none_or_several_are_refused() {
        let none = Artifacts::new(Path::new("/p")).component().unwrap_err().to_string();
        insta::assert_snapshot!(none, @"cargo built 0 components in `/p` where one is needed");
        let mut artifacts = Artifacts::new(Path::new("/p"));
        artifacts.note(&message("/p/Cargo.toml", "/t/p.wasm"));
        artifacts.note(&message("/p/Cargo.toml", "/t/q.wasm"));
        assert!(matches!(artifacts.component(), Err(BuildError::NotOneComponent { found: 2, .. })));
    }
}
