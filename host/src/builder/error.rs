//! Why a plugin was not built, and what to do about it.

use std::io;
use std::path::PathBuf;

use super::TARGET;
use crate::manifest::ManifestError;

/// Why a plugin was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
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
    #[error(
        "nothing to build in `{}`: it has no `Cargo.toml`, and its `plugin.toml` names no `component`; add one of them",
        folder.display()
    )]
    NothingToBuild {
        /// The plugin's folder.
        folder: PathBuf,
    },
    /// The component that the manifest names is not there.
    #[error(
        "the component `{}` is not there; build it, or correct `component` in the `plugin.toml`",
        component.display()
    )]
    NoComponent {
        /// Where it should be.
        component: PathBuf,
    },
    /// A program cannot be run.
    #[error("cannot run `{program}`: {error}; {advice}")]
    NoProgram {
        /// Which.
        program: &'static str,
        /// The system's words.
        error: io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// The target could not be installed.
    #[error("the target `{TARGET}` cannot be installed; run `rustup target add {TARGET}` yourself\n{output}")]
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
    #[error(
        "cargo built {found} components in `{}` where one is needed; its `Cargo.toml` must have one library with \
         `crate-type = [\"cdylib\"]`",
        folder.display()
    )]
    NotOneComponent {
        /// The plugin's folder.
        folder: PathBuf,
        /// How many there are.
        found: usize,
    },
}

impl BuildError {
    pub(super) fn no_cargo(error: io::Error) -> Self {
        Self::NoProgram { program: "cargo", error, advice: "install Rust with rustup, see https://rustup.rs" }
    }

    pub(super) fn no_rustup(error: io::Error) -> Self {
        let advice = "the target `wasm32-wasip2` of Rust is missing and rustup would install it: install rustup, see \
                      https://rustup.rs, or that target with the package manager that Rust came with";
        Self::NoProgram { program: "rustup", error, advice }
    }
}
