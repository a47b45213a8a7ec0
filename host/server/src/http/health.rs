//! The health of a host, as `/healthz` and `/readyz` report it.

use serde::Serialize;

/// The health of a host. Answers from memory, at once.
pub trait Health: Send + Sync + 'static {
    /// How it is now.
    fn health(&self) -> HealthReport;
}

/// How a host is; the body of `/healthz` and `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HealthReport {
    /// Where the host is in its life.
    pub phase: Phase,
    /// Whether the store answers.
    pub store_up: bool,
    /// The plugins that are loaded.
    pub plugins: Vec<PluginHealth>,
    /// What does not work as it should, one sentence each; empty when all is well.
    pub degraded: Vec<String>,
}

/// Where a host is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Plugins are being loaded.
    Starting,
    /// All configured plugins are loaded.
    Running,
    /// No new events are taken; those in flight are being finished.
    Draining,
}

/// How a plugin is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PluginHealth {
    /// Its name.
    pub name: String,
    /// Its tenant.
    pub tenant: String,
    /// The digest of its active version.
    pub version: String,
    /// Whether all of its triggers run.
    pub running: bool,
}

impl HealthReport {
    /// Whether the host does what it should: the store answers. Degraded parts are listed, but do not make it
    /// unhealthy.
    pub fn is_healthy(&self) -> bool {
        self.store_up
    }

    /// Whether the host takes events: it is running, the store answers and so do all triggers.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Running && self.store_up && self.plugins.iter().all(|plugin| plugin.running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> HealthReport {
        let plugin = PluginHealth {
            name: "aggregator".to_owned(),
            tenant: "default".to_owned(),
            version: "abc".to_owned(),
            running: true,
        };
        HealthReport { phase: Phase::Running, store_up: true, plugins: vec![plugin], degraded: Vec::new() }
    }

    #[test]
    fn ready_means_running_with_store_and_triggers() {
        assert!(report().is_ready());
        assert!(!HealthReport { phase: Phase::Starting, ..report() }.is_ready());
        assert!(!HealthReport { phase: Phase::Draining, ..report() }.is_ready());
        assert!(!HealthReport { store_up: false, ..report() }.is_ready());
        let mut stopped = report();
        stopped.plugins[0].running = false;
        assert!(!stopped.is_ready() && stopped.is_healthy());
    }

    #[test]
    fn the_body_is_what_is_documented() {
        let json = serde_json::to_string(&report()).unwrap();
        insta::assert_snapshot!(json, @r#"{"phase":"running","store_up":true,"plugins":[{"name":"aggregator","tenant":"default","version":"abc","running":true}],"degraded":[]}"#);
    }
}
