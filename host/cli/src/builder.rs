//! Makes a component from a plugin's folder, with cargo.
//!
//! A folder with a `Cargo.toml` is compiled for `wasm32-wasip2`, which is installed through rustup where it is
//! missing; a folder whose manifest names a component has it already. Knows nothing of hosts. Bounded by `LINES_KEPT`
//! and `LINE_BYTES_MAX`; a build takes as long as the compiler needs, and is killed when it is dropped.

mod artifact;
mod error;
mod toolchain;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use cargo_metadata::Message;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;

pub(crate) use error::BuildError;

use artifact::Artifacts;
use sandbar_core::manifest::Manifest;

/// What components are compiled for.
pub(crate) const TARGET: &str = "wasm32-wasip2";
/// The last lines of a failed build that its error repeats.
const LINES_KEPT: usize = 200;
/// The most bytes of one line that cargo prints; a line of its JSON may be long.
const LINE_BYTES_MAX: usize = 4 << 20;

/// Progress reports of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress<'a> {
    /// The target is missing and is being installed.
    InstallingTarget,
    /// A line that cargo or rustup printed.
    Line(&'a str),
}

/// Where a plugin's component comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It is compiled from the `Cargo.toml` of the folder.
    Cargo,
    /// It is this file.
    File(PathBuf),
}

/// The folder of a plugin, with its manifest.
#[derive(Debug, Clone)]
pub(crate) struct PluginFolder {
    /// The folder.
    pub(crate) path: PathBuf,
    /// Its `plugin.toml`.
    pub(crate) manifest: Manifest,
    /// Where its component comes from.
    pub(crate) origin: Origin,
}

impl PluginFolder {
    /// Reads the manifest of a folder and finds out where its component comes from.
    pub(crate) fn open(path: &Path) -> Result<Self, BuildError> {
        let manifest_path = path.join("plugin.toml");
        let text = std::fs::read_to_string(&manifest_path)
            .map_err(|error| BuildError::Unreadable { path: manifest_path.clone(), error })?;
        let manifest =
            Manifest::parse(&text).map_err(|error| BuildError::Manifest { path: manifest_path.clone(), error })?;
        let origin = match &manifest.component {
            Some(component) => Origin::File(path.join(component)),
            None if path.join("Cargo.toml").is_file() => Origin::Cargo,
            None => return Err(BuildError::NothingToBuild { folder: path.to_owned() }),
        };
        Ok(Self { path: path.to_owned(), manifest, origin })
    }

    /// Where `sandbar build` puts the component, and where `sandbar run` looks for it: the manifest's `component`, else
    /// `<name>.wasm` in the folder.
    pub(crate) fn component(&self) -> PathBuf {
        match &self.origin {
            Origin::File(component) => component.clone(),
            Origin::Cargo => self.path.join(format!("{}.wasm", self.manifest.name)),
        }
    }

    /// Makes the component and answers where it is: a file of cargo's target folder, or the one that the manifest
    /// names.
    pub(crate) async fn build(&self, progress: &(dyn Fn(Progress<'_>) + Send + Sync)) -> Result<PathBuf, BuildError> {
        match &self.origin {
            Origin::File(component) if component.is_file() => Ok(component.clone()),
            Origin::File(component) => Err(BuildError::NoComponent { component: component.clone() }),
            Origin::Cargo => {
                toolchain::ensure_target(&self.path, progress).await?;
                compile(&self.path, progress).await
            }
        }
    }
}

fn no_cargo(error: std::io::Error) -> BuildError {
    BuildError::no_rust("cargo", error)
}

/// Runs cargo in the folder and answers the component that it made.
async fn compile(folder: &Path, progress: &(dyn Fn(Progress<'_>) + Send + Sync)) -> Result<PathBuf, BuildError> {
    let mut cargo = command("cargo", folder);
    cargo.args(["build", "--release", "--target", TARGET, "--message-format=json-render-diagnostics"]);
    let mut child = cargo.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(no_cargo)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut artifacts = Artifacts::new(folder);
    let messages = lines(stdout, |line| {
        // A line that is not a message is what a build script or a macro printed.
        match serde_json::from_str::<Message>(line) {
            Ok(message) => artifacts.note(&message),
            Err(_) => progress(Progress::Line(line)),
        }
    });
    let mut kept = VecDeque::new();
    let printed = lines(stderr, |line| {
        progress(Progress::Line(line));
        if kept.len() == LINES_KEPT {
            kept.pop_front();
        }
        kept.push_back(line.to_owned());
    });
    let (messages, printed) = tokio::join!(messages, printed);
    let status = child.wait().await.map_err(no_cargo)?;
    messages.and(printed).map_err(no_cargo)?;
    if !status.success() {
        return Err(BuildError::Failed { folder: folder.to_owned(), output: Vec::from(kept).join("\n") });
    }
    artifacts.component()
}

/// A program that runs in the plugin's folder, undisturbed by the flags and wrappers meant for the build of the host
/// itself.
fn command(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    for meant_for_the_host in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
        command.env_remove(meant_for_the_host);
    }
    command
}

/// Gives each line of a pipe to a function, lossily where it is not UTF-8.
async fn lines(pipe: Option<impl AsyncRead + Unpin>, mut each: impl FnMut(&str)) -> std::io::Result<()> {
    let Some(pipe) = pipe else { return Ok(()) };
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            break;
        }
        let (part, ended) = match available.iter().position(|byte| *byte == b'\n') {
            Some(end) => (available.get(..end).unwrap_or_default(), true),
            None => (available, false),
        };
        let used = part.len() + usize::from(ended);
        let room = LINE_BYTES_MAX.saturating_sub(line.len());
        line.extend(part.iter().take(room));
        reader.consume(used);
        if ended {
            each(&String::from_utf8_lossy(&line));
            line.clear();
        }
    }
    if !line.is_empty() {
        each(&String::from_utf8_lossy(&line));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn opened(files: &[(&str, &str)]) -> Result<PluginFolder, String> {
        let folder = folder(files);
        let shown = folder.path().display().to_string();
        PluginFolder::open(folder.path()).map_err(|error| error.to_string().replace(&shown, "DIR"))
    }

    #[test]
    fn a_named_component_goes_before_cargo() {
        let named = opened(&[("plugin.toml", "name = \"a\"\ncomponent = \"x.wasm\""), ("Cargo.toml", "")]).unwrap();
        assert!(matches!(&named.origin, Origin::File(path) if path.ends_with("x.wasm")));
        let compiled = opened(&[("plugin.toml", "name = \"a\""), ("Cargo.toml", "")]).unwrap();
        assert_eq!(compiled.origin, Origin::Cargo);
        assert!(compiled.component().ends_with("a.wasm"));
    }

    #[test]
    fn a_folder_that_is_no_plugin_is_refused_with_advice() {
        insta::assert_snapshot!(opened(&[]).unwrap_err(), @"cannot read `DIR/plugin.toml`: No such file or directory (os error 2)");
        insta::assert_snapshot!(opened(&[("plugin.toml", "name = \"a\"")]).unwrap_err(), @"nothing to build in `DIR`: it has no `Cargo.toml`, and its `plugin.toml` names no `component`");
        insta::assert_snapshot!(opened(&[("plugin.toml", "name = \"A\"")]).unwrap_err(), @"`DIR/plugin.toml` is not a manifest: `name`: `A` is not 1 to 64 lower-case letters, digits and dashes");
    }

    #[tokio::test]
    async fn lines_are_split_and_cut() {
        let mut seen = Vec::new();
        lines(Some(&b"one\n\xff\nlast"[..]), |line| seen.push(line.to_owned())).await.unwrap();
        assert_eq!(seen, ["one", "\u{fffd}", "last"]);
        let long = vec![b'x'; LINE_BYTES_MAX + 10];
        let mut length = 0;
        lines(Some(&long[..]), |line| length = line.len()).await.unwrap();
        assert_eq!(length, LINE_BYTES_MAX);
    }
}
