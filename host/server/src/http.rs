//! What a host answers over HTTP: `/healthz`, `/readyz` and `/metrics` by itself, and what plugins answer below their
//! routes.
//!
//! Knows the host only through [`Health`], and plugins only through [`Routes`]; the host's own paths go before
//! theirs. Every request is bounded in its headers, its body and its time, every connection in its life, and all of
//! them in their number.

mod connection;
mod health;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;

use sandbar_runtime::telemetry::{Exporter, StoreMetrics};
use sandbar_triggers::http::{RouteMatch, Routes};

pub use connection::Peer;
pub use health::{Health, HealthReport, Phase, PluginHealth};

/// The most bytes in the body of a request.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What the answers are made from; cheap to clone.
#[derive(Clone)]
pub struct HttpState {
    /// The health of the host.
    pub health: Arc<dyn Health>,
    /// Renders the metrics.
    pub exporter: Exporter,
    /// Which plugin answers below which path.
    pub routes: Routes,
}

impl std::fmt::Debug for HttpState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpState").finish_non_exhaustive()
    }
}

/// Answers on `listener` until `shutdown` is cancelled and the requests in flight are answered.
/// `connections` is how many may be open at one time.
pub async fn serve(listener: TcpListener, state: HttpState, connections: u32, shutdown: CancellationToken) {
    connection::serve(listener, router(state), connections, shutdown).await;
}

/// The same with a router that somebody has made: that of [`router`], and more.
pub async fn serve_router(listener: TcpListener, router: Router, connections: u32, shutdown: CancellationToken) {
    connection::serve(listener, router, connections, shutdown).await;
}

/// All routes, with their bounds.
pub fn router(state: HttpState) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .layer(RequestBodyLimitLayer::new(BODY_BYTES_MAX))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_TIMEOUT))
        // Comes after the bounds of the host's own paths: plugins have bounds of their own.
        .fallback(plugin)
        .with_state(state)
}

/// What plugins answer.
async fn plugin(State(state): State<HttpState>, request: Request) -> Response {
    match state.routes.find(request.uri().path()) {
        RouteMatch::Service(service) => service.answer(request).await,
        RouteMatch::Nothing => StatusCode::NOT_FOUND.into_response(),
        RouteMatch::Closed => (StatusCode::SERVICE_UNAVAILABLE, [(header::CONNECTION, "close")]).into_response(),
    }
}

async fn healthz(State(state): State<HttpState>) -> Response {
    let report = state.health.health();
    answer(report.is_healthy(), &report)
}

async fn readyz(State(state): State<HttpState>) -> Response {
    let report = state.health.health();
    answer(report.is_ready(), &report)
}

fn answer(good: bool, report: &HealthReport) -> Response {
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(report)).into_response()
}

async fn metrics(State(state): State<HttpState>) -> Response {
    StoreMetrics::new().up(state.health.health().store_up);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.exporter.render()).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    struct Down;

    impl Health for Down {
        fn health(&self) -> HealthReport {
            let degraded = vec!["the store does not answer".to_owned()];
            HealthReport { phase: Phase::Running, store_up: false, plugins: Vec::new(), degraded }
        }
    }

    /// Sends one request to a server of its own and answers all that comes back until the connection ends.
    async fn exchange(request: &[u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let state = HttpState { health: Arc::new(Down), exporter: Exporter::install(), routes: Routes::default() };
        let server = tokio::spawn(serve(listener, state, 10, shutdown.clone()));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        shutdown.cancel();
        server.await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn a_store_that_is_down_is_reported() {
        let answer = exchange(b"GET /healthz HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.contains(r#""degraded":["the store does not answer"]"#), "{answer}");
        let answer = exchange(b"GET /readyz HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    }

    #[tokio::test]
    async fn metrics_have_the_type_of_the_text_format() {
        let answer = exchange(b"GET /metrics HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("text/plain; version=0.0.4"), "{answer}");
        assert!(answer.contains("\nsandbar_store_up 0\n"), "{answer}");
    }

    #[tokio::test]
    async fn heads_and_bodies_are_bounded() {
        let head = format!("GET /healthz HTTP/1.1\r\nhost: h\r\n{}\r\n", "x: y\r\n".repeat(64));
        let answer = exchange(head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        let body = b"GET /healthz HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 100000000\r\n\r\n";
        let answer = exchange(body).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }

    #[tokio::test]
    async fn an_idle_connection_does_not_hold_up_the_shutdown() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let state = HttpState { health: Arc::new(Down), exporter: Exporter::install(), routes: Routes::default() };
        let server = tokio::spawn(serve(listener, state, 10, shutdown.clone()));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET /metrics HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        assert!(client.read(&mut [0; 64]).await.unwrap() > 0, "the connection is being served");
        shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(2), server).await.unwrap().unwrap();
    }
}
