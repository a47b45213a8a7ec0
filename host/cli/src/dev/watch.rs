//! Which plugins have changed on disk.
//!
//! Watches folders, not files: editors replace files. What changes is kept as a set of plugins, so a storm of changes
//! costs no more memory than one; it is handed out when it has been quiet for [`QUIET`], at the latest after
//! [`PATIENCE`].

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::builder::{Origin, PluginFolder};

/// How long it must be quiet before changes are handed out: one save of an editor is several changes.
const QUIET: Duration = Duration::from_millis(200);
/// How long changes are held back at most.
const PATIENCE: Duration = Duration::from_secs(2);

/// Watches the folders of plugins.
#[derive(Debug)]
pub(super) struct Watch {
    changed: Arc<Changed>,
    // Watches as long as it lives.
    _watcher: RecommendedWatcher,
}

#[derive(Debug, Default)]
struct Changed {
    plugins: Mutex<BTreeSet<usize>>,
    notify: Notify,
}

/// What of a plugin is watched.
#[derive(Debug, Clone)]
struct Interest {
    folder: PathBuf,
    /// The component where it is not compiled from the folder.
    component: Option<PathBuf>,
}

impl Watch {
    /// Watches plugins; each has an index.
    pub(super) fn new<'a>(plugins: impl Iterator<Item = &'a PluginFolder>) -> Result<Self, notify::Error> {
        let interests: Vec<Interest> = plugins.map(Interest::new).collect();
        let changed = Arc::new(Changed::default());
        let (marked, looked) = (changed.clone(), interests.clone());
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            if matches!(event.kind, EventKind::Access(_)) {
                return;
            }
            for (index, interest) in looked.iter().enumerate() {
                if event.paths.iter().any(|path| interest.is_for(path)) {
                    marked.plugins.lock().insert(index);
                    marked.notify.notify_one();
                }
            }
        })?;
        for interest in &interests {
            for (folder, mode) in interest.folders() {
                watcher.watch(&folder, mode)?;
            }
        }
        Ok(Self { changed, _watcher: watcher })
    }

    /// Waits for changes, and for quiet after them. Cancel-safe: what was not handed out is kept.
    pub(super) async fn changed(&self) -> BTreeSet<usize> {
        loop {
            if self.changed.plugins.lock().is_empty() {
                self.changed.notify.notified().await;
                continue;
            }
            let began = Instant::now();
            while began.elapsed() < PATIENCE && timeout(QUIET, self.changed.notify.notified()).await.is_ok() {}
            return std::mem::take(&mut *self.changed.plugins.lock());
        }
    }
}

impl Interest {
    fn new(plugin: &PluginFolder) -> Self {
        // Changes have whole paths.
        let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let folder = whole(&plugin.path);
        let component = match &plugin.origin {
            Origin::Cargo => None,
            Origin::File(file) => {
                let parent = file.parent().map_or_else(|| folder.clone(), whole);
                file.file_name().map(|name| parent.join(name))
            }
        };
        Self { folder, component }
    }

    fn folders(&self) -> Vec<(PathBuf, RecursiveMode)> {
        let mut folders = vec![(self.folder.clone(), RecursiveMode::NonRecursive)];
        let source = self.folder.join("src");
        if self.component.is_none() && source.is_dir() {
            folders.push((source, RecursiveMode::Recursive));
        }
        let apart = self.component.as_deref().and_then(Path::parent).filter(|parent| *parent != self.folder);
        folders.extend(apart.map(|parent| (parent.to_owned(), RecursiveMode::NonRecursive)));
        folders
    }

    fn is_for(&self, path: &Path) -> bool {
        if let Some(component) = &self.component
            && path == component
        {
            return true;
        }
        let Ok(inside) = path.strip_prefix(&self.folder) else { return false };
        if inside == Path::new("plugin.toml") {
            return true;
        }
        let code = inside.starts_with("src") || inside == Path::new("Cargo.toml") || inside == Path::new("build.rs");
        self.component.is_none() && code && !is_scratch(path)
    }
}

/// Files that editors keep while they work.
fn is_scratch(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.starts_with('.') || name.ends_with('~') || name.ends_with(".swp") || name == "4913"
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// How long a change may take to be noticed on a loaded machine.
    const DEADLINE: Duration = Duration::from_secs(10);

    fn plugin(files: &[&str], manifest: &str) -> (tempfile::TempDir, PluginFolder) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("src")).unwrap();
        for file in files {
            fs::write(folder.path().join(file), "").unwrap();
        }
        fs::write(folder.path().join("plugin.toml"), manifest).unwrap();
        let plugin = PluginFolder::open(folder.path()).unwrap();
        (folder, plugin)
    }

    #[test]
    fn only_what_matters_is_looked_at() {
        let (folder, cargo) = plugin(&["Cargo.toml"], "name = \"a\"");
        let is_for = |plugin: &PluginFolder, path: &str| {
            Interest::new(plugin).is_for(&folder.path().canonicalize().unwrap().join(path))
        };
        for path in ["src/lib.rs", "src/deep/er.rs", "Cargo.toml", "plugin.toml"] {
            assert!(is_for(&cargo, path), "{path}");
        }
        for path in ["a.wasm", "target/x.rs", "README.md", "src/.lib.rs.swp", "src/lib.rs~"] {
            assert!(!is_for(&cargo, path), "{path}");
        }
        fs::write(folder.path().join("plugin.toml"), "name = \"a\"\ncomponent = \"b.wasm\"").unwrap();
        let file = PluginFolder::open(folder.path()).unwrap();
        assert!(is_for(&file, "b.wasm") && is_for(&file, "plugin.toml"));
        assert!(!is_for(&file, "c.wasm") && !is_for(&file, "src/lib.rs"));
    }

    #[tokio::test]
    async fn many_changes_are_told_once() {
        let (_quiet, first) = plugin(&["Cargo.toml"], "name = \"a\"");
        let (busy, second) = plugin(&["Cargo.toml"], "name = \"b\"");
        let watch = Watch::new([first, second].iter()).unwrap();
        for turn in 0..10 {
            fs::write(busy.path().join("src/lib.rs"), format!("// {turn}")).unwrap();
        }
        let changed = timeout(DEADLINE, watch.changed()).await.unwrap();
        assert_eq!(changed, BTreeSet::from([1]));
        assert!(watch.changed.plugins.lock().is_empty());
    }

    #[tokio::test]
    async fn a_component_that_is_replaced_is_noticed() {
        let (folder, file) = plugin(&[], "name = \"a\"\ncomponent = \"a.wasm\"");
        let watch = Watch::new([file].iter()).unwrap();
        fs::write(folder.path().join("new"), "x").unwrap();
        fs::rename(folder.path().join("new"), folder.path().join("a.wasm")).unwrap();
        let changed = timeout(DEADLINE, watch.changed()).await.unwrap();
        assert_eq!(changed, BTreeSet::from([0]));
    }
}
