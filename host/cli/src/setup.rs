//! What the commands work with: the configuration, and the store that it names.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Global;
use super::exit::{Exit, Failure};
use crate::builder::PluginFolder;
use sandbar_core::config::{Config, TenantConfig};
use sandbar_core::secret::without_secrets;
use sandbar_server::machine::Machine;
use sandbar_store::Store;

/// What a configuration is called unless it is named.
pub(super) const CONFIG_NAME: &str = "sandbar.toml";
/// How many tenants an error names.
const TENANTS_TOLD: usize = 20;
/// The store that lives in the process.
const EMBEDDED: &str = "embedded";

/// A configuration, and where it was found.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    /// The configuration. The paths of `plugins` and feeds are as they were written; others are made whole.
    pub(super) config: Config,
    /// What its paths are relative to.
    pub(super) folder: PathBuf,
    /// How a person calls it.
    pub(super) called: String,
    tenant: TenantConfig,
}

/// A configuration, and the connected store that it names.
pub(super) struct Opened {
    /// The configuration.
    pub(super) setup: Setup,
    /// Its store.
    pub(super) store: Arc<dyn Store>,
}

impl Opened {
    /// What `command` works with: a store that other processes see too.
    pub(super) async fn shared(command: &str, global: &Global) -> Result<Self, Failure> {
        let setup = Setup::find(global)?;
        let store = setup.connect_shared(command).await?;
        Ok(Self { setup, store })
    }
}

/// A plugin's folder, and whose it is.
#[derive(Debug)]
pub(super) struct Placed {
    /// The tenant's name.
    pub(super) tenant: String,
    /// The folder.
    pub(super) folder: PluginFolder,
}

impl Setup {
    /// Reads a configuration; the store that the arguments or the environment name goes before its own.
    pub(super) fn read(path: &Path, global: &Global) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| {
            let failure = Failure::file("read", path, &error);
            if error.kind() == io::ErrorKind::NotFound {
                return failure
                    .help("name a configuration that is there, or write one: `plugins = [\"my-plugin\"]` is enough");
            }
            failure
        })?;
        let config = Config::parse(&text).map_err(|error| {
            Failure::new(Exit::Config, format_args!("`{}` is not a configuration: {error}", path.display()))
        })?;
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Self::new(config, folder, format!("`{}`", path.display()), global)
    }

    /// The configuration of `--config`, else `sandbar.toml` of the current folder, else the defaults.
    pub(super) fn find(global: &Global) -> Result<Self, Failure> {
        if let Some(path) = &global.config {
            return Self::read(path, global);
        }
        let usual = Path::new(CONFIG_NAME);
        if usual.is_file() {
            return Self::read(usual, global);
        }
        Self::new(Config::default(), PathBuf::from("."), "the default configuration".to_owned(), global)
    }

    fn new(mut config: Config, folder: PathBuf, called: String, global: &Global) -> Result<Self, Failure> {
        if let Some(url) = &global.redis_url {
            config.store.url.clone_from(url);
            config.store.written_url = url.as_str().into();
            // What the configuration says of its own server is not for another one.
            config.store.password = None;
        }
        config.folder.clone_from(&folder);
        config.resolve(&Machine::new(&folder)).map_err(|error| {
            Failure::new(Exit::Config, format_args!("{called}: {error}"))
                .help("set the variable, or write the file: the value itself is never shown")
        })?;
        config.store.ca_file = config.store.ca_file.map(|file| folder.join(file));
        for tenant in &mut config.tenants {
            tenant.http_ca_file = tenant.http_ca_file.take().map(|file| folder.join(file));
        }
        config.engine.cache_dir = config.engine.cache_dir.map(|dir| folder.join(dir)).or_else(user_cache);
        let named = |name: &String| config.tenants.iter().find(|tenant| tenant.name == *name);
        let tenant = match &global.tenant {
            Some(name) => named(name).ok_or_else(|| {
                let names: Vec<&str> =
                    config.tenants.iter().map(|tenant| tenant.name.as_str()).take(TENANTS_TOLD).collect();
                Failure::new(Exit::Usage, format_args!("{called} has no tenant `{name}`"))
                    .help(format_args!("its tenants are {}", names.join(", ")))
            })?,
            None => config.tenants.first().ok_or_else(|| Failure::new(Exit::Config, "there is no tenant"))?,
        };
        Ok(Self { tenant: tenant.clone(), config, folder, called })
    }

    /// A path of the configuration, as the process sees it.
    pub(super) fn path(&self, written: &Path) -> PathBuf {
        // Collected from its components it has no `.` in it.
        if self.folder == Path::new(".") {
            written.to_owned()
        } else {
            self.folder.join(written).components().collect()
        }
    }

    /// The plugins of all tenants.
    pub(super) fn plugins(&self) -> Result<Vec<Placed>, Failure> {
        let open = |(tenant, folder): (&TenantConfig, &PathBuf)| {
            let folder = PluginFolder::open(&self.path(folder)).map_err(|error| Failure::from(&error))?;
            Ok(Placed { tenant: tenant.name.clone(), folder })
        };
        self.config.folders().map(open).collect()
    }

    /// Whether the store lives in this process.
    pub(super) fn is_embedded(&self) -> bool {
        self.config.store.url == EMBEDDED
    }

    /// The store's address without what is secret in it.
    pub(super) fn store_address(&self) -> String {
        without_secrets(&self.config.store.url)
    }

    /// Connects to the store.
    pub(super) async fn connect(&self) -> Result<Arc<dyn Store>, Failure> {
        sandbar_store::connect(&self.config.store).await.map_err(|error| {
            let what = format!("cannot use the store at {}: {error}", self.store_address());
            if !error.is_transient() {
                return Failure::new(Exit::Config, what)
                    .help(format_args!("correct `url` in [store] of {}, --redis-url or REDIS_URL", self.called));
            }
            Failure::new(Exit::Store, what).help(
                "start Redis there, name another with --redis-url or REDIS_URL, or run without one: \
                 url = \"embedded\" in [store]",
            )
        })
    }

    /// Connects to a store that other processes see too.
    pub(super) async fn connect_shared(&self, command: &str) -> Result<Arc<dyn Store>, Failure> {
        if self.is_embedded() {
            let what = format!("{} has an embedded store, which only the host's own process sees", self.called);
            return Err(Failure::new(Exit::Usage, what)
                .help(format_args!("`sandbar {command}` works on Redis: pass --redis-url or set REDIS_URL")));
        }
        self.connect().await
    }

    /// The tenant that the command is about: that of --tenant, else the only one.
    pub(super) fn tenant(&self) -> &TenantConfig {
        &self.tenant
    }

    /// What its keys begin with.
    pub(super) fn prefix(&self) -> &str {
        &self.tenant.prefix
    }

    /// A key or stream of the tenant, as the store knows it.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix())
    }
}

/// Where compiled components are kept unless the configuration says so; none for a user without a home.
fn user_cache() -> Option<PathBuf> {
    let caches = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || env::var_os("HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    Some(caches.or_else(|| Some(home()?.join(".cache")))?.join("sandbar"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_wrong_configuration_is_explained() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sandbar.toml");
        let told =
            |failure: Failure| (failure.exit, failure.what.replace(&path.display().to_string(), "FILE"), failure.help);
        let missing = told(Setup::read(&path, &Global::default()).unwrap_err());
        insta::assert_debug_snapshot!(missing, @r#"
        (
            Config,
            "cannot read `FILE`: No such file or directory (os error 2)",
            Some(
                "name a configuration that is there, or write one: `plugins = [\"my-plugin\"]` is enough",
            ),
        )
        "#);
        fs::write(&path, "[store]\nurls = 1\n").unwrap();
        let (exit, what, _) = told(Setup::read(&path, &Global::default()).unwrap_err());
        assert_eq!(exit, Exit::Config);
        insta::assert_snapshot!(what, @r#"
        `FILE` is not a configuration: TOML parse error at line 2, column 1
          |
        2 | urls = 1
          | ^^^^
        unknown field `urls`, expected one of `url`, `password`, `commit-connections`, `shared-connections`, `response-timeout`, `ca-file`
        "#);
    }

    #[test]
    fn the_arguments_go_before_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sandbar.toml");
        fs::write(&path, "[store]\nurl = \"embedded\"\nca-file = \"ca.pem\"\n").unwrap();
        let setup = Setup::read(&path, &Global::default()).unwrap();
        assert!(setup.is_embedded());
        assert_eq!(setup.config.store.ca_file, Some(folder.path().join("ca.pem")));
        let global = Global { redis_url: Some("redis://elsewhere".to_owned()), ..Global::default() };
        let setup = Setup::read(&path, &global).unwrap();
        assert_eq!(setup.store_address(), "redis://elsewhere");
    }
}
