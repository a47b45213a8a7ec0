//! `sandbar check`: what a component is, before anything runs it.

mod needs;

use std::fs;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use clap::Args;
use serde::Serialize;

use super::Global;
use super::exit::{Exit, Failure};
use super::screen::Screen;
use super::setup::Setup;
use crate::builder::PluginFolder;
use needs::Need;
use sandbar_core::config::EngineConfig;
use sandbar_core::manifest::Manifest;
use sandbar_runtime::engine::Engine;
use sandbar_runtime::plugin::{self, Inspection, Verdict};
use sandbar_server::host::MANIFEST_NAME;

/// What `sandbar check` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A component, or the folder of a plugin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Its manifest; by default the plugin.toml beside it, where there is one
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    component: PathBuf,
    bytes: usize,
    digest: String,
    plugin: Option<String>,
    imports: Vec<ImportReport>,
    exports: Vec<String>,
    /// Why a host would refuse it; empty where it would not.
    refused: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ImportReport {
    name: String,
    /// Whether the host has it.
    provided: bool,
    /// What it needs of the manifest's grants, and whether that is there.
    needs: Option<String>,
}

/// Inspects a component. Fails where a host would refuse it.
pub(super) fn run(arguments: &Arguments, global: &Global, screen: &Screen) -> Result<Exit, Failure> {
    let (component, manifest) = locate(arguments)?;
    let bytes = fs::read(&component).map_err(|error| Failure::file("read", &component, &error))?;
    let setup = Setup::find(global)?;
    // One component is compiled, and nothing is instantiated.
    let config = EngineConfig { instances: 1, ..setup.config.engine };
    let engine = Engine::new(&config, None)
        .map_err(|error| Failure::new(Exit::Failed, format_args!("cannot set up the engine: {error}")))?;
    let inspection = plugin::inspect(&engine, &bytes).map_err(|error| {
        let what = format!("`{}` would be refused: {error}", component.display());
        Failure::new(Exit::Failed, what)
            .help("a component is needed: for Rust, `sandbar build` makes one of a plugin's folder")
    })?;
    let report = Report::new(component, manifest.as_ref(), inspection);
    screen.result(&report, || report.page())?;
    Ok(if report.refused.is_empty() { Exit::Done } else { Exit::Failed })
}

/// The component, and its manifest where there is one.
fn locate(arguments: &Arguments) -> Result<(PathBuf, Option<Manifest>), Failure> {
    if arguments.file.is_dir() {
        let plugin = PluginFolder::open(&arguments.file).map_err(|error| Failure::from(&error))?;
        let component = plugin.component();
        if !component.is_file() {
            let what = format!("the plugin is not built: `{}` is not there", component.display());
            return Err(Failure::new(Exit::Config, what).help(format_args!("sandbar build {}", plugin.path.display())));
        }
        return Ok((component, Some(plugin.manifest)));
    }
    let beside = arguments.file.with_file_name(MANIFEST_NAME);
    let manifest = match &arguments.manifest {
        Some(path) => Some(read(path)?),
        None if beside.is_file() => Some(read(&beside)?),
        None => None,
    };
    Ok((arguments.file.clone(), manifest))
}

fn read(path: &Path) -> Result<Manifest, Failure> {
    let text = fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
    Manifest::parse(&text)
        .map_err(|error| Failure::new(Exit::Config, format_args!("`{}` is not a manifest: {error}", path.display())))
}

impl Report {
    fn new(component: PathBuf, manifest: Option<&Manifest>, inspection: Inspection) -> Self {
        let mut refused = Vec::new();
        let grants = manifest.map(|manifest| &manifest.grants);
        let triggers = manifest.map(|manifest| manifest.triggers.as_slice()).unwrap_or_default();
        let without_export = triggers.iter().filter(|trigger| !inspection.has_export(trigger.export()));
        let missing: Vec<String> = without_export
            .map(|trigger| {
                let (kind, subject) = (trigger.kind(), trigger.subject());
                let export = trigger.export().split('@').next().unwrap_or_default();
                format!("the trigger of {kind} `{subject}` needs the export `{export}`, which is not there")
            })
            .collect();
        let imports = inspection.imports.into_iter().map(|import| {
            let needs = Need::of(&import.name).map(|need| need.in_words(grants));
            let reason = match import.verdict {
                Verdict::Provided => None,
                Verdict::NeedsHttpGrant if grants.is_none_or(|grants| !grants.http.is_empty()) => None,
                Verdict::NeedsHttpGrant => {
                    Some("but the manifest asks for no host in `http` under [grants]".to_owned())
                }
                Verdict::NotProvided(reason) => Some(reason),
            };
            let provided = reason.is_none();
            refused.extend(reason.map(|reason| format!("it imports `{}`, {reason}", import.name)));
            ImportReport { name: import.name, provided, needs }
        });
        let imports = imports.collect();
        refused.extend(missing);
        Self {
            component,
            bytes: inspection.size_bytes,
            digest: inspection.digest,
            plugin: manifest.map(|manifest| manifest.name.clone()),
            imports,
            exports: inspection.exports,
            refused,
        }
    }

    fn page(&self) -> String {
        let plugin =
            self.plugin.as_ref().map_or_else(|| format!("unknown: no `{MANIFEST_NAME}` beside it"), Clone::clone);
        let mut lines = vec![
            format!("component  {} ({})", self.component.display(), ByteSize::b(self.bytes as u64)),
            format!("digest     {}", self.digest),
            format!("plugin     {plugin}"),
        ];
        lines.push("exports".to_owned());
        lines.extend(self.exports.iter().map(|name| format!("  {name}")));
        lines.push("imports".to_owned());
        lines.extend(self.imports.iter().map(ImportReport::line));
        if self.refused.is_empty() {
            lines.push("accepted: a host would load it".to_owned());
        } else {
            lines.push("refused: a host would not load it".to_owned());
            lines.extend(self.refused.iter().map(|reason| format!("  {reason}")));
        }
        lines.join("\n")
    }
}

impl ImportReport {
    fn line(&self) -> String {
        let mark = if self.provided { ' ' } else { '!' };
        match &self.needs {
            Some(needs) => format!("{mark} {:<36} needs {needs}", self.name),
            None => format!("{mark} {}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbar_runtime::plugin::Import;

    fn inspection(imports: &[(&str, Verdict)], exports: &[&str]) -> Inspection {
        let imports =
            imports.iter().map(|(name, verdict)| Import { name: (*name).to_owned(), verdict: verdict.clone() });
        Inspection {
            size_bytes: 43_000,
            digest: "0f3a".to_owned(),
            imports: imports.collect(),
            exports: exports.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    const MANIFEST: &str = "name = \"a\"\n[[trigger]]\ntype = \"stream\"\nstream = \"s\"\n\
                            [grants]\nread = [\"detection:*\"]\nwrite = [\"camera:*\"]\n";

    #[test]
    fn what_would_be_refused_is_named() {
        let refused = Verdict::NotProvided("which this host does not have".to_owned());
        let imports = [
            ("sandbar:plugin/cache@0.1.0", Verdict::Provided),
            ("sandbar:plugin/pubsub@0.1.0", Verdict::Provided),
            ("wasi:sockets/tcp@0.2.6", refused),
        ];
        let manifest = Manifest::parse(MANIFEST).unwrap();
        let report = Report::new("a.wasm".into(), Some(&manifest), inspection(&imports, &["run"]));
        insta::assert_snapshot!(report.page(), @r#"
        component  a.wasm (42.0 KiB)
        digest     0f3a
        plugin     a
        exports
          run
        imports
          sandbar:plugin/cache@0.1.0           needs read = ["detection:*"], write = ["camera:*"]
          sandbar:plugin/pubsub@0.1.0          needs `publish`, and the manifest asks for none: every call would be denied
        ! wasi:sockets/tcp@0.2.6
        refused: a host would not load it
          it imports `wasi:sockets/tcp@0.2.6`, which this host does not have
          the trigger of stream `s` needs the export `sandbar:plugin/handler`, which is not there
        "#);
    }

    #[test]
    fn what_a_host_would_load_is_accepted() {
        let imports = [("sandbar:plugin/cache@0.1.0", Verdict::Provided)];
        let exports = ["sandbar:plugin/handler@0.1.0"];
        let manifest = Manifest::parse(MANIFEST).unwrap();
        assert!(Report::new("a.wasm".into(), Some(&manifest), inspection(&imports, &exports)).refused.is_empty());
        let report = Report::new("a.wasm".into(), None, inspection(&imports, &exports));
        insta::assert_snapshot!(report.page(), @r#"
        component  a.wasm (42.0 KiB)
        digest     0f3a
        plugin     unknown: no `plugin.toml` beside it
        exports
          sandbar:plugin/handler@0.1.0
        imports
          sandbar:plugin/cache@0.1.0           needs `read` or `write`
        accepted: a host would load it
        "#);
    }
}
