//! Replaces the plugins of folders when their files change.
//!
//! Files are looked at every [`LOOK`], which works on every file system, and taken once they have rested for as long,
//! so that no half of a component is loaded.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::super::serving::Serving;
use super::super::setup::Placed;
use crate::builder::PluginFolder;
use sandbar_server::host::MANIFEST_NAME;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What differs after a change of a file; none where there is no file.
type Stamp = Option<(SystemTime, u64)>;

/// The files of plugins, as they were when their plugins were loaded.
pub(super) struct Files {
    plugins: Vec<Placed>,
    /// What was loaded, or could not be.
    taken: Vec<[Stamp; 2]>,
}

impl Files {
    /// The files as they are now. Look before they are loaded, so that no change falls between.
    pub(super) fn look(plugins: Vec<Placed>) -> Self {
        let taken = plugins.iter().map(|placed| stamps(&paths(placed))).collect();
        Self { plugins, taken }
    }

    /// Replaces plugins when their files change. Ends only by being dropped.
    pub(super) async fn follow(mut self, serving: &Serving) {
        let mut last = self.taken.clone();
        loop {
            tokio::time::sleep(LOOK).await;
            let files: Vec<[PathBuf; 2]> = self.plugins.iter().map(paths).collect();
            let look = move || files.iter().map(stamps).collect::<Vec<_>>();
            let Ok(now) = tokio::task::spawn_blocking(look).await else { continue };
            let places = self.plugins.iter_mut().zip(&mut self.taken);
            for ((placed, taken), (now, last)) in places.zip(now.iter().zip(&last)) {
                if now != taken && now == last {
                    *taken = *now;
                    replace(placed, serving).await;
                }
            }
            last = now;
        }
    }
}

/// Loads what is in a plugin's folder now. What is wrong with it is logged, and the version that runs goes on.
async fn replace(placed: &mut Placed, serving: &Serving) {
    let name = placed.folder.manifest.name.clone();
    match PluginFolder::open(&placed.folder.path) {
        Ok(folder) => placed.folder = folder,
        Err(error) => return tracing::error!(plugin = name, %error, "its files have changed, and cannot be loaded"),
    }
    let loaded = match serving.host().tenant(&placed.tenant) {
        Ok(tenant) => tenant.load(&placed.folder.path, &placed.folder.component()).await,
        Err(error) => Err(error),
    };
    match loaded {
        Ok(()) => tracing::info!(plugin = name, "its files have changed, and are loaded"),
        Err(error) => tracing::error!(plugin = name, %error, "its files have changed, and cannot be loaded"),
    }
}

/// The manifest and the component.
fn paths(placed: &Placed) -> [PathBuf; 2] {
    [placed.folder.path.join(MANIFEST_NAME), placed.folder.component()]
}

fn stamps(paths: &[PathBuf; 2]) -> [Stamp; 2] {
    let stamp = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    paths.each_ref().map(|path| stamp(path))
}
