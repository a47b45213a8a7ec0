//! A host with its HTTP server: started together, stopped in order.
//!
//! The server answers from before the plugins are loaded until they have drained, and reports that state.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::exit::{Exit, Failure};
use super::setup::Setup;
use sandbar_runtime::telemetry::Exporter;
use sandbar_server::api::{Api, HasHost};
use sandbar_server::host::{Drained, Host};
use sandbar_server::http::{self, Health, HealthReport, HttpState, Phase};
use sandbar_store::Store;

/// A running host and its HTTP server.
#[derive(Debug)]
pub(super) struct Serving {
    /// Where it answers.
    pub(super) address: SocketAddr,
    watched: Arc<Watched>,
    server: JoinHandle<()>,
    stop_server: CancellationToken,
}

/// A host whose plugins may still be on their way.
#[derive(Debug)]
struct Watched {
    host: Host,
    started: AtomicBool,
}

impl HasHost for Watched {
    fn host(&self) -> &Host {
        &self.host
    }
}

impl Health for Watched {
    fn health(&self) -> HealthReport {
        let report = self.host.health();
        if report.phase == Phase::Running && !self.started.load(Ordering::Relaxed) {
            return HealthReport { phase: Phase::Starting, ..report };
        }
        report
    }
}

impl Serving {
    /// Listens, then starts a host without plugins.
    pub(super) async fn start(setup: &Setup, store: Arc<dyn Store>) -> Result<Self, Failure> {
        let exporter = Exporter::install();
        let listen = setup.config.http.listen;
        let listener = TcpListener::bind(listen).await.map_err(|error| cannot_listen(listen, &error))?;
        let address = listener.local_addr().map_err(|error| cannot_listen(listen, &error))?;
        let host = Host::start(setup.config.clone(), store).await.map_err(|error| Failure::from(&error))?;
        let watched = Arc::new(Watched { host, started: AtomicBool::new(false) });
        let stop_server = CancellationToken::new();
        let state = HttpState { health: watched.clone(), exporter, routes: watched.host.routes() };
        let connections = setup.config.http.connections;
        let router = http::router(state).merge(Api::new(watched.clone()).router());
        let server = tokio::spawn(http::serve_router(listener, router, connections, stop_server.clone()));
        Ok(Self { address, watched, server, stop_server })
    }

    /// The host.
    pub(super) fn host(&self) -> &Host {
        &self.watched.host
    }

    /// All plugins that were to be loaded have been.
    pub(super) fn started(&self) {
        self.watched.started.store(true, Ordering::Relaxed);
    }

    /// Drains the host, then ends the server.
    pub(super) async fn stop(self) -> Result<Drained, Failure> {
        let drained = self.host().shutdown().await;
        self.stop_server.cancel();
        let ended = self.server.await;
        ended.map_err(|error| Failure::new(Exit::Failed, format_args!("the HTTP server failed: {error}")))?;
        Ok(drained)
    }
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format_args!("cannot listen on {address}: {error}"))
        .help("end the other host that listens there, or choose another address with `listen` in [http]")
}
