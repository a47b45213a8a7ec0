//! Connections: accepted, bounded and ended.
//!
//! Knows nothing of what is answered. Bounded in their number by the configuration, and each by [`HEAD_TIMEOUT`]
//! (idle time included), [`HEAD_BYTES_MAX`], [`HEADERS_MAX`], [`WRITE_TIMEOUT`] for clients that do not read, and
//! [`LIFE_MAX`], after which a client has to connect anew; what is being answered then is finished first, within
//! [`ANSWER_MAX`].

mod write_timeout;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use write_timeout::WriteTimeout;

/// How long a client may take to send the head of a request, counted from the end of the one before.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The most bytes in the head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The most headers in a request.
const HEADERS_MAX: usize = 64;
/// How long one connection may live.
const LIFE_MAX: Duration = Duration::from_secs(300);
/// How long the request in flight may still take then: as long as the longest that a plugin may take, and what is
/// left of its answer.
const ANSWER_MAX: Duration = Duration::from_secs(3600 + 300);
/// How long a client may not take anything of what is written to it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the request in flight may still take when the server ends.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait when the system has no more sockets to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who sent a request: an extension of it.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Serves a router on a listener until the token is cancelled, then waits for the requests in flight. Of more
/// connections than `connections` the next one waits to be accepted.
pub(super) async fn serve(listener: TcpListener, router: Router, connections: u32, shutdown: CancellationToken) {
    let permits = Arc::new(Semaphore::new(usize::try_from(connections).unwrap_or(1)));
    let tasks = TaskTracker::new();
    let accept = async {
        // The semaphore is never closed, so this goes on until it is dropped.
        while let Ok(permit) = permits.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let (router, shutdown) = (router.clone(), shutdown.clone());
                    tasks.spawn(async move {
                        answer(stream, Peer(peer), router, shutdown).await;
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

async fn answer(stream: TcpStream, peer: Peer, router: Router, shutdown: CancellationToken) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    let stream = WriteTimeout::new(stream, WRITE_TIMEOUT);
    let router = TowerToHyperService::new(router);
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let life = async {
        if let Ok(ended) = timeout(LIFE_MAX, connection.as_mut()).await {
            return ended;
        }
        connection.as_mut().graceful_shutdown();
        // What has not ended by then is dropped with its socket.
        timeout(ANSWER_MAX, connection.as_mut()).await.unwrap_or(Ok(()))
    };
    let ended = tokio::select! {
        ended = life => Some(ended),
        () = shutdown.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            timeout(END_TIMEOUT, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}
