//! Builds the components that the tests run: the guests of `tests/guests` and the plugins of `plugins`.
//!
//! Each becomes a constant with the path of its component, such as `HANDLE_COUNT`.
#![allow(clippy::unwrap_used, reason = "a build that cannot go on ends with the reason")]

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-wasip2";

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap()).join("..");
    for input in [".cargo", "tests/guests", "plugins", "examples", "wit", "Cargo.lock", "Cargo.toml"] {
        println!("cargo:rerun-if-changed={}", root.join(input).display());
    }
    let out = PathBuf::from(env::var("OUT_DIR").unwrap());
    let target = out.join("guests");
    build(&root, &target, &["--package", "sandbar-test-guests", "--examples"]);
    build(&root, &target, &["--package", "result-aggregator", "--lib"]);
    for example in ["example-jobs", "example-lock", "example-schedule", "example-sessions", "quotes"] {
        build(&root, &target, &["--package", example, "--lib"]);
    }
    let made = target.join(TARGET).join("release");
    let mut constants = String::new();
    for folder in [made.join("examples"), made] {
        for component in components(&folder) {
            let name = component.file_stem().unwrap().to_str().unwrap();
            writeln!(
                constants,
                "/// The component `{name}`.\npub const {}: &str = {:?};",
                name.to_uppercase().replace('-', "_"),
                component.display().to_string()
            )
            .unwrap();
        }
    }
    fs::write(out.join("components.rs"), constants).unwrap();
}

/// Builds for WebAssembly with a target folder of its own, so that it does not wait for the cargo that runs this.
fn build(root: &Path, target: &Path, what: &[&str]) {
    let mut cargo = Command::new(env::var("CARGO").unwrap());
    cargo.current_dir(root).args(["build", "--locked", "--release", "--target", TARGET, "--target-dir"]).arg(target);
    cargo.args(what);
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
        cargo.env_remove(variable);
    }
    let status = cargo.status().unwrap();
    assert!(
        status.success(),
        "the guests do not build; is the target there? `rustup target add {TARGET}` (tests/run does it)"
    );
}

/// The components in a folder. Cargo leaves a second copy with a hash in its name beside each example.
fn components(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .filter(|path| !path.file_stem().unwrap().to_string_lossy().contains('-'))
        .collect();
    found.sort();
    found
}
