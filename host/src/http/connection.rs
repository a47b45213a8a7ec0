//! Connections: accepted, bounded and ended.
//!
//! Knows nothing of what is answered. Bounded by [`CONNECTIONS_MAX`], [`HEAD_TIMEOUT`] (idle time included), [`HEAD_BYTES_MAX`],
//! [`HEADERS_MAX`] and [`LIFE_MAX`], after which a client has to connect anew.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at one time; the next one waits to be accepted.
const CONNECTIONS_MAX: usize = 256;
/// How long a client may take to send the head of a request, counted from the end of the one before.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The most bytes in the head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The most headers in a request.
const HEADERS_MAX: usize = 64;
/// How long one connection may live.
const LIFE_MAX: Duration = Duration::from_secs(300);
/// How long the request in flight may still take when a connection is to end.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait when the system has no more sockets to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves a router on a listener until the token is cancelled, then waits for the requests in flight.
pub(super) async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let tasks = TaskTracker::new();
    let accept = async {
        // The semaphore is never closed, so this goes on until it is dropped.
        while let Ok(permit) = permits.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (router, shutdown) = (router.clone(), shutdown.clone());
                    tasks.spawn(async move {
                        answer(stream, router, shutdown).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an HTTP connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accept => {}
        () = shutdown.cancelled() => {}
    }
    tasks.close();
    tasks.wait().await;
}

async fn answer(stream: TcpStream, router: Router, shutdown: CancellationToken) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = shutdown.cancelled() => None,
        () = sleep(LIFE_MAX) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            // What has not ended by then is dropped with its socket.
            timeout(END_TIMEOUT, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}
