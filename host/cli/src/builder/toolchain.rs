//! Whether Rust can compile for WebAssembly here, and the installation of what is missing.

use std::path::Path;
use std::process::Stdio;

use super::{BuildError, Progress, TARGET, command, lines};

/// Installs the target where it is missing. The folder matters: it may choose a toolchain of its own.
pub(super) async fn ensure_target(
    folder: &Path,
    progress: &(dyn Fn(Progress<'_>) + Send + Sync),
) -> Result<(), BuildError> {
    if has_target(folder).await? {
        return Ok(());
    }
    progress(Progress::InstallingTarget);
    let mut rustup = command("rustup", folder);
    rustup.args(["target", "add", TARGET]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = rustup.spawn().map_err(BuildError::no_rustup)?;
    let mut output = String::new();
    let printed = lines(child.stderr.take(), |line| {
        progress(Progress::Line(line));
        output.push_str(line);
        output.push('\n');
    });
    printed.await.map_err(BuildError::no_rustup)?;
    let status = child.wait().await.map_err(BuildError::no_rustup)?;
    if !status.success() {
        return Err(BuildError::TargetNotInstalled { output });
    }
    Ok(())
}

/// Whether the toolchain that the folder uses has the target's libraries.
async fn has_target(folder: &Path) -> Result<bool, BuildError> {
    let mut rustc = command("rustc", folder);
    rustc.args(["--print", "target-libdir", "--target", TARGET]).stderr(Stdio::null());
    let output = rustc.output().await.map_err(|error| BuildError::no_rust("rustc", error))?;
    let libraries = String::from_utf8_lossy(&output.stdout);
    Ok(output.status.success() && Path::new(libraries.trim()).is_dir())
}
