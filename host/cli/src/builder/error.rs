//! Why a plugin was not built, and what to do about it.

use std::io;
use std::path::PathBuf;

use super::TARGET;
use sandbar_core::manifest::ManifestError;

/// Why a plugin was not built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// A file of the plugin cannot be read.
    #[error("cannot read `{}`: {error}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// The manifest is not as it should be.
    #[error("`{}` is not a manifest: {error}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        error: ManifestError,
    },
    /// There is neither code nor a component.
    #[error("nothing to build in `{}`: it has no `Cargo.toml`, and its `plugin.toml` names no `component`", folder.display())]
    NothingToBuild {
        /// The plugin's folder.
        folder: PathBuf,
    },
    /// The component that the manifest names is not there.
    #[error("the component `{}` is not there", component.display())]
    NoComponent {
        /// Where it should be.
        component: PathBuf,
    },
    /// A program cannot be run.
    #[error("cannot run `{program}`: {error}")]
    NoProgram {
        /// Which.
        program: &'static str,
        /// The system's words.
        error: io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// The target could not be installed.
    #[error("the target `{TARGET}` of Rust cannot be installed")]
    TargetNotInstalled {
        /// What rustup printed.
        output: String,
    },
    /// Cargo could not build the plugin.
    #[error("the plugin in `{}` does not build", folder.display())]
    Failed {
        /// The plugin's folder.
        folder: PathBuf,
        /// The last lines that cargo printed.
        output: String,
    },
    /// Cargo built something, but not one component.
    #[error("cargo built {found} components in `{}` where one is needed", folder.display())]
    NotOneComponent {
        /// The plugin's folder.
        folder: PathBuf,
        /// How many there are.
        found: usize,
    },
}

impl BuildError {
    /// What to do about it.
    pub(crate) fn help(&self) -> Option<&str> {
        match self {
            Self::Unreadable { error, .. } if error.kind() == io::ErrorKind::NotFound => {
                Some("a plugin is a folder with a plugin.toml; `name = \"my-plugin\"` is a start")
            }
            Self::Unreadable { .. } | Self::Manifest { .. } | Self::Failed { .. } => None,
            Self::NothingToBuild { .. } => Some("add a `Cargo.toml`, or name a `component` in the `plugin.toml`"),
            Self::NoComponent { .. } => Some("build it, or correct `component` in the `plugin.toml`"),
            Self::NoProgram { advice, .. } => Some(advice),
            Self::TargetNotInstalled { .. } => Some("try it yourself: rustup target add wasm32-wasip2"),
            Self::NotOneComponent { .. } => {
                Some("the `Cargo.toml` needs one library: [lib] with crate-type = [\"cdylib\"]")
            }
        }
    }

    /// What the programs printed that failed; empty where there is nothing.
    pub(crate) fn output(&self) -> &str {
        match self {
            Self::Failed { output, .. } | Self::TargetNotInstalled { output } => output.trim_end(),
            Self::Unreadable { .. }
            | Self::Manifest { .. }
            | Self::NothingToBuild { .. }
            | Self::NoComponent { .. }
            | Self::NoProgram { .. }
            | Self::NotOneComponent { .. } => "",
        }
    }

    pub(super) fn no_rust(program: &'static str, error: io::Error) -> Self {
        Self::NoProgram { program, error, advice: "install Rust with rustup" }
    }

    pub(super) fn no_rustup(error: io::Error) -> Self {
        let advice = "the target wasm32-wasip2 of Rust is missing: install rustup, which brings it, or install that target \
                      the way in which Rust was installed";
        Self::NoProgram { program: "rustup", error, advice }
    }
}
