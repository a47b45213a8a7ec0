//! Requests that plugins send: one connection each, to an address that was checked, within bounds.
//!
//! The name is resolved here, each address is checked, and one of those that passed is connected to: a name that
//! leads elsewhere a moment later gains nothing. Redirects are answers like others; nothing is followed, kept open or
//! sent again. Knows plugins only by their [`Policy`]. Errors are those of `wasi:http`, which the plugin sees.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use http::uri::{PathAndQuery, Scheme};
use http::{Method, Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::{Error, WasiBody};

use crate::body::{Bounded, Paced};
use sandbar_core::grants::{NameError, Policy};

/// How long it may take until a connection stands, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How many addresses of one name are tried.
const ADDRESSES_MAX: usize = 4;
/// The most bytes in the head of an answer.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The most headers of an answer.
const HEADERS_MAX: usize = 128;

/// What all requests go out through; cheap to clone.
#[derive(Clone)]
pub struct Outbound {
    tls: TlsConnector,
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound").finish_non_exhaustive()
    }
}

/// Requests cannot be sent as the configuration asks.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The certificates of authorities are of no use.
    #[error("tenant.http-ca-file `{path}` has no certificates that can be used: {reason}")]
    Authorities {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// TLS cannot be set up: a fault of the host.
    #[error("TLS cannot be set up: {0}")]
    Tls(rustls::Error),
}

/// What one exchange may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Until a connection stands; never longer than [`CONNECT_TIMEOUT`].
    pub connect: Duration,
    /// From then until the head of the answer is there.
    pub first_byte: Duration,
    /// Between two parts of its body.
    pub between_bytes: Duration,
    /// When all of it must be over.
    pub deadline: Instant,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the answer's body.
    pub response_bytes: u64,
}

/// An answer, and what must be driven while its body is read.
pub type Exchange = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl Outbound {
    /// Trusts the authorities of a file, or those that are built in.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, OutboundError> {
        let roots = match ca_file {
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
            Some(path) => authorities(path)
                .map_err(|reason| OutboundError::Authorities { path: path.display().to_string(), reason })?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(OutboundError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Sends a plugin's request where its policy allows it, and answers the head as soon as it is there.
    pub async fn send(
        &self,
        request: Request<WasiBody>,
        plugin: &str,
        policy: &Policy,
        bounds: Bounds,
    ) -> Result<Exchange, Error> {
        if request.method() == Method::CONNECT {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let is_tls = request.uri().scheme() == Some(&Scheme::HTTPS);
        let authority = request.uri().authority().ok_or(Error::HttpRequestUriInvalid)?;
        let host = authority.host().to_owned();
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        policy.http(&host, port).map_err(|denied| refused(plugin, &denied, Error::HttpRequestDenied))?;
        let connect = async {
            let stream = connect(&resolve(&host, port, plugin, policy).await?).await?;
            if is_tls { self.secure(&host, stream).await.map(boxed) } else { Ok(boxed(stream)) }
        };
        let limit = (Instant::now() + bounds.connect.min(CONNECT_TIMEOUT)).min(bounds.deadline);
        let stream = timeout_at(limit, connect).await.map_err(|_| Error::ConnectionTimeout)??;
        timeout_at(bounds.deadline, exchange(stream, request, bounds))
            .await
            .map_err(|_| Error::ConnectionReadTimeout)?
    }

    async fn secure(&self, host: &str, stream: TcpStream) -> Result<impl Stream + use<>, Error> {
        let name = bare(host).to_owned();
        let name = ServerName::try_from(name).map_err(|_| Error::HttpRequestUriInvalid)?;
        self.tls.connect(name, stream).await.map_err(|error| {
            let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
            tracing::debug!(host, %error, "TLS could not be agreed upon");
            match cause {
                Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
                    Error::TlsCertificateError
                }
                _ => Error::TlsProtocolError,
            }
        })
    }
}

/// A stream of bytes, with or without TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

fn boxed(stream: impl Stream) -> Box<dyn Stream> {
    Box::new(stream)
}

fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())? {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("it has none".to_owned()) } else { Ok(roots) }
}

/// Logs why a request was denied, and answers the error for the plugin.
fn refused(plugin: &str, denied: &NameError, error: Error) -> Error {
    tracing::warn!(plugin, %denied, "an outgoing request was denied");
    error
}

/// A host without the brackets around an address of IPv6.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// The addresses that a host stands for and that may be connected to.
async fn resolve(host: &str, port: u16, plugin: &str, policy: &Policy) -> Result<Vec<SocketAddr>, Error> {
    let found = tokio::net::lookup_host((bare(host), port)).await.map_err(|error| {
        tracing::debug!(host, %error, "a host's name could not be resolved");
        Error::DnsError { rcode: Some(error.to_string()), info_code: None }
    })?;
    let (mut allowed, mut denied) = (Vec::new(), None);
    for address in found.take(ADDRESSES_MAX) {
        match policy.address(host, port, address.ip()) {
            Ok(()) => allowed.push(address),
            Err(error) => denied = Some(error),
        }
    }
    match denied {
        Some(denied) if allowed.is_empty() => Err(refused(plugin, &denied, Error::DestinationIpProhibited)),
        _ if allowed.is_empty() => Err(Error::DestinationNotFound),
        _ => Ok(allowed),
    }
}

/// A connection to the first address that takes one.
async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, Error> {
    let mut failed = Error::DestinationNotFound;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Requests are small and wait for their answer; where this cannot be set they are only slower.
                let _slower = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => {
                tracing::debug!(%address, %error, "could not connect for an outgoing request");
                failed = match error.kind() {
                    io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
                    io::ErrorKind::TimedOut => Error::ConnectionTimeout,
                    io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => Error::DestinationUnavailable,
                    _ => Error::ConnectionTerminated,
                };
            }
        }
    }
    Err(failed)
}

async fn exchange(stream: Box<dyn Stream>, mut request: Request<WasiBody>, bounds: Bounds) -> Result<Exchange, Error> {
    // The connection leads to the authority already; only a proxy would want to read it again.
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    let (max, over): (_, fn() -> Error) = (bounds.request_bytes, || Error::HttpRequestBodySize(None));
    let request = request.map(|body| Bounded::new(body, max, over));
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|error| http_error(&error))?;
    let answer = std::pin::pin!(timeout(bounds.first_byte, sender.send_request(request)));
    let (answer, connection) = match select(answer, Box::pin(connection)).await {
        Either::Left((answer, connection)) => (answer, Some(connection)),
        // The connection has ended, maybe only after the answer, and maybe not as politely as it should (TLS without
        // a last word).
        Either::Right((ended, answer)) => match (answer.await, ended) {
            (Ok(Err(_)), Err(ended)) => (Ok(Err(ended)), None),
            (answer, _) => (answer, None),
        },
    };
    let answer = answer.map_err(|_| Error::ConnectionReadTimeout)?.map_err(|error| http_error(&error))?;
    let max = bounds.response_bytes;
    if hyper::body::Body::size_hint(answer.body()).lower() > max {
        return Err(Error::HttpResponseBodySize(Some(max)));
    }
    let answer = answer.map(|body| {
        let body = Paced::new(body.map_err(|error| http_error(&error)), bounds.between_bytes, bounds.deadline);
        Bounded::new(body, max, || Error::HttpResponseBodySize(None)).boxed_unsync()
    });
    let drive = async move {
        match connection {
            Some(connection) => {
                timeout_at(bounds.deadline, connection).await.unwrap_or(Ok(())).map_err(|error| http_error(&error))
            }
            None => Ok(()),
        }
    };
    Ok((answer, Box::new(drive)))
}

/// The error for the plugin of an exchange that failed.
fn http_error(error: &hyper::Error) -> Error {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<Error>());
    if let Some(Error::HttpRequestBodySize(max)) = cause {
        return Error::HttpRequestBodySize(*max);
    }
    tracing::debug!(%error, "an outgoing request failed");
    if error.is_parse_too_large() {
        Error::HttpResponseHeaderSectionSize(None)
    } else if error.is_incomplete_message() {
        Error::HttpResponseIncomplete
    } else if error.is_timeout() {
        Error::HttpResponseTimeout
    } else if error.is_closed() || error.is_canceled() {
        Error::ConnectionTerminated
    } else {
        Error::HttpProtocolError
    }
}
