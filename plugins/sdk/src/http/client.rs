//! Requests that a plugin sends.

use std::time::Duration;

use super::bindings::wasi::http::outgoing_handler;
use super::bindings::wasi::http::types::{ErrorCode, Fields, Method, OutgoingRequest, RequestOptions, Scheme};
use super::{Response, stream};
use crate::types::Error;

/// A request to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The method, such as `GET`.
    pub method: String,
    /// Where to: `http://` or `https://`, the host, a port where it is another than 80 or 443, path and query.
    pub url: String,
    /// Names with their values. `host` is added by the host, and may not be among them.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
    /// How long the connection, the head of the answer, and each part of its body may take; none for as long as the
    /// call has left.
    pub timeout: Option<Duration>,
}

impl Outgoing {
    /// A request without headers and body.
    #[must_use]
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self { method: method.into(), url: url.into(), headers: Vec::new(), body: Vec::new(), timeout: None }
    }

    /// A request to read something.
    #[must_use]
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// A request to take something.
    #[must_use]
    pub fn post(url: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::new("POST", url) }
    }

    /// The same with one header more.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same with a time-out.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }
}

/// Sends a request and reads the answer whole. Any status is an answer; a redirect is not followed.
///
/// It is sent at once, and again when the call is run again: an API that must not see it twice needs a key that it
/// can recognize it by, such as the event's id.
///
/// # Errors
///
/// `denied` where the host is not granted or its address may not be connected to; `timed-out`; `limit` for a body
/// that is too large or too many requests at a time; `invalid` for what is no request; `unavailable` for all else
/// that may pass.
pub fn send(request: &Outgoing) -> Result<Response, Error> {
    let failed = |code: ErrorCode| error(&code, &request.url);
    let outgoing = build(request)?;
    let body = outgoing.body().map_err(|()| Error::Internal("the request has no body".to_owned()))?;
    let options = RequestOptions::new();
    if let Some(timeout) = request.timeout {
        let nanos = Some(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        // The host knows all three of them.
        let _ = options.set_connect_timeout(nanos);
        let _ = options.set_first_byte_timeout(nanos);
        let _ = options.set_between_bytes_timeout(nanos);
    }
    let future = outgoing_handler::handle(outgoing, Some(options)).map_err(failed)?;
    // Where the body is not taken the answer says why.
    stream::write(body, &request.body);
    future.subscribe().block();
    let answer = match future.get() {
        Some(Ok(Ok(answer))) => answer,
        Some(Ok(Err(code))) => return Err(failed(code)),
        Some(Err(())) | None => return Err(Error::Internal("the answer is not there".to_owned())),
    };
    let status = answer.status();
    let headers = answer.headers().entries();
    let body = answer.consume().map_err(|()| Error::Internal("the answer has no body".to_owned()))?;
    let body = stream::read(body).map_err(|text| {
        let text = format!("the answer of `{}`: {text}", request.url);
        if text.contains("exceeds limit") { Error::Limit(text) } else { Error::Unavailable(text) }
    })?;
    Ok(Response { status, headers, body })
}

fn build(request: &Outgoing) -> Result<OutgoingRequest, Error> {
    let invalid = |what: &str| Error::Invalid(format!("`{}`: {what}", request.url));
    let (scheme, rest) = match request.url.split_once("://") {
        Some(("http", rest)) => (Scheme::Http, rest),
        Some(("https", rest)) => (Scheme::Https, rest),
        _ => return Err(invalid("it begins with neither `http://` nor `https://`")),
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let path = path.split('#').next().unwrap_or_default();
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut headers = request.headers.clone();
    if !request.body.is_empty() && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
        headers.push(("content-length".to_owned(), request.body.len().to_string().into_bytes()));
    }
    let headers = Fields::from_list(&headers).map_err(|error| invalid(&format!("a header: {error}")))?;
    let outgoing = OutgoingRequest::new(headers);
    outgoing.set_method(&method(&request.method)).map_err(|()| invalid("the method"))?;
    outgoing.set_scheme(Some(&scheme)).map_err(|()| invalid("the scheme"))?;
    outgoing.set_authority(Some(authority)).map_err(|()| invalid("the host"))?;
    outgoing.set_path_with_query(Some(&path)).map_err(|()| invalid("the path"))?;
    Ok(outgoing)
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

fn error(code: &ErrorCode, url: &str) -> Error {
    let text = format!("`{url}`: {code:?}");
    match code {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => Error::Denied(text),
        ErrorCode::DnsTimeout
        | ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::HttpResponseTimeout => Error::TimedOut(text),
        ErrorCode::ConnectionLimitReached
        | ErrorCode::HttpRequestBodySize(_)
        | ErrorCode::HttpResponseBodySize(_)
        | ErrorCode::HttpResponseHeaderSectionSize(_) => Error::Limit(text),
        ErrorCode::HttpRequestMethodInvalid | ErrorCode::HttpRequestUriInvalid | ErrorCode::HttpRequestUriTooLong => {
            Error::Invalid(text)
        }
        _ => Error::Unavailable(text),
    }
}
