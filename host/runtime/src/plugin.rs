//! From bytes to a component that can be instantiated: what it imports and exports, and whether it may.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::component::{InstancePre, types::ComponentItem};

use crate::engine::{Engine, Ticker};
use crate::guest::State;
use sandbar_core::grants::Primitive;
use sandbar_core::manifest::Manifest;

mod exports;
mod granted;

pub(crate) use exports::{Exported, Exports};
pub use granted::check_grants;

/// The largest component.
pub const COMPONENT_BYTES_MAX: usize = 256 << 20;
/// The interfaces of the host's own package, and the version that it offers.
const PACKAGE: &str = "sandbar:plugin/";
const PACKAGE_VERSION: &str = "0.1";
const INTERFACES: &[&str] = &["types", "cache", "stream", "queue", "pubsub", "lock", "collections", "transaction"];
/// Standard interfaces that are offered. Those of `cli` and `filesystem` are what the standard libraries of guests
/// import; behind them there is no file, no argument and no variable.
const STANDARD: &[&str] = &[
    "wasi:cli/",
    "wasi:io/",
    "wasi:clocks/",
    "wasi:random/",
    "wasi:filesystem/",
    "wasi:logging/logging@",
    "wasi:config/store@",
    "wasi:http/types@",
];
/// Outgoing HTTP is offered to plugins that ask for a host.
const HTTP: &[&str] = &["wasi:http/outgoing-handler@"];
/// A version of a plugin: one component's bytes, compiled and checked. Immutable; cheap to clone.
#[derive(Clone)]
pub struct Version {
    /// The SHA-256 of the bytes, in hexadecimal.
    pub digest: Arc<str>,
    pub(crate) pre: InstancePre<State>,
    pub(crate) exports: Exports,
    pub(crate) ticker: Ticker,
    /// What it imports of what a tenant may refuse.
    imported: Arc<[(Primitive, String)]>,
}

impl Version {
    /// Whether the component exports a loader.
    pub fn has_loader(&self) -> bool {
        self.exports.has_loader()
    }
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Version").field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// Why a component is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is larger than [`COMPONENT_BYTES_MAX`].
    #[error("the component has {0} bytes; at most {COMPONENT_BYTES_MAX} are allowed")]
    TooLarge(usize),
    /// The bytes are no component: garbage, a core module, or a version of the format that is not known.
    #[error("the file is no WebAssembly component: {0}")]
    NotAComponent(String),
    /// It imports something that it does not get.
    #[error("the component imports `{name}`, {reason}")]
    Import {
        /// The import.
        name: String,
        /// Why it does not get it, and what to do.
        reason: String,
    },
    /// The tenant does not grant what it needs.
    #[error("{0}")]
    NotGranted(String),
    /// A trigger needs an export that the component does not have.
    #[error("the manifest has a {trigger} trigger, but the component does not export `{export}`")]
    Export {
        /// The kind of trigger.
        trigger: &'static str,
        /// What it would call.
        export: &'static str,
    },
    /// The manifest says that the plugin loads for itself, but it cannot.
    #[error("the manifest names the plugin itself as `cache.loader`, but the component does not export `{export}`")]
    Loader {
        /// What it would call.
        export: &'static str,
    },
    /// The component's types do not fit those of the package.
    #[error("the component does not fit the package sandbar:plugin@{PACKAGE_VERSION}: {0}")]
    Mismatch(String),
}

/// What a component is, without running it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Its size.
    pub size_bytes: usize,
    /// The SHA-256 of its bytes.
    pub digest: String,
    /// What it imports, and whether it would get it.
    pub imports: Vec<Import>,
    /// What it exports.
    pub exports: Vec<String>,
}

impl Inspection {
    /// Whether the component exports an interface, in whatever version.
    pub fn has_export(&self, interface: &str) -> bool {
        self.exports.iter().any(|exported| exports::is(exported, interface))
    }
}

/// One import of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Its name.
    pub name: String,
    /// Whether the component gets it.
    pub verdict: Verdict,
}

/// Whether a component gets an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Provided,
    /// Only where the manifest asks for a host in `http`.
    NeedsHttpGrant,
    /// It does not, for this reason.
    NotProvided(String),
}

/// Looks at a component without running it. Takes CPU time: call it where blocking is allowed.
pub fn inspect(engine: &Engine, bytes: &[u8]) -> Result<Inspection, LoadError> {
    look(engine, bytes).map(|(inspection, _)| inspection)
}

/// Compiles a component and checks it against its manifest. Takes CPU time: call it where blocking is allowed.
pub fn load(engine: &Engine, bytes: &[u8], manifest: &Manifest) -> Result<Version, LoadError> {
    let (inspection, component) = look(engine, bytes)?;
    for import in &inspection.imports {
        let reason = match &import.verdict {
            Verdict::Provided => continue,
            Verdict::NeedsHttpGrant if !manifest.grants.http.is_empty() => continue,
            Verdict::NeedsHttpGrant => {
                "but the manifest asks for no host: list the hosts in `http` under [grants]".to_owned()
            }
            Verdict::NotProvided(reason) => reason.clone(),
        };
        return Err(LoadError::Import { name: import.name.clone(), reason });
    }
    let pre = engine.linker().instantiate_pre(&component).map_err(|error| LoadError::Mismatch(format!("{error:#}")))?;
    let exports = Exports::find(&pre, &inspection).map_err(|error| LoadError::Mismatch(format!("{error:#}")))?;
    if let Some(trigger) = manifest.triggers.iter().find(|trigger| !inspection.has_export(trigger.export())) {
        return Err(LoadError::Export { trigger: trigger.kind(), export: trigger.export() });
    }
    if manifest.cache.loader.as_ref() == Some(&manifest.name) && !exports.has_loader() {
        return Err(LoadError::Loader { export: exports::LOADER });
    }
    let imported = granted::imported(&inspection).into();
    Ok(Version { digest: inspection.digest.into(), pre, exports, ticker: engine.ticker().clone(), imported })
}

fn look(engine: &Engine, bytes: &[u8]) -> Result<(Inspection, wasmtime::component::Component), LoadError> {
    if bytes.len() > COMPONENT_BYTES_MAX {
        return Err(LoadError::TooLarge(bytes.len()));
    }
    let digest = digest(bytes);
    let component = engine.compile(bytes, &digest).map_err(|error| LoadError::NotAComponent(format!("{error:#}")))?;
    let shape = component.component_type();
    let imports = shape
        .imports(engine.wasmtime())
        .map(|(name, item)| Import { name: name.to_owned(), verdict: judge(name, &item.ty) })
        .collect();
    let exports = shape.exports(engine.wasmtime()).map(|(name, _)| name.to_owned()).collect();
    Ok((Inspection { size_bytes: bytes.len(), digest, imports, exports }, component))
}

fn judge(name: &str, item: &ComponentItem) -> Verdict {
    if let Some(rest) = name.strip_prefix(PACKAGE) {
        let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
        if !INTERFACES.contains(&interface) {
            return Verdict::NotProvided(format!("which this host does not have; it has {}", INTERFACES.join(", ")));
        }
        if version.strip_prefix(PACKAGE_VERSION).is_none_or(|rest| !rest.starts_with('.')) {
            return Verdict::NotProvided(format!(
                "but this host has version {PACKAGE_VERSION}: build the plugin against its wit folder"
            ));
        }
        return Verdict::Provided;
    }
    if HTTP.iter().any(|prefix| name.starts_with(prefix)) {
        return Verdict::NeedsHttpGrant;
    }
    if STANDARD.iter().any(|prefix| name.starts_with(prefix)) {
        return Verdict::Provided;
    }
    if name.starts_with("wasi:sockets/") {
        return Verdict::NotProvided("but plugins have no sockets: use wasi:http with granted hosts".to_owned());
    }
    // Types that an import needs may stand for themselves; anything that can be called may not.
    match item {
        ComponentItem::Type(_) | ComponentItem::Resource(_) => Verdict::Provided,
        _ => Verdict::NotProvided("which this host does not have".to_owned()),
    }
}

/// The SHA-256 of bytes, in hexadecimal: the name of a version.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
