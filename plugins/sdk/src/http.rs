//! HTTP in both directions: requests that a plugin answers ([`service!`](crate::service!)) and requests that it sends
//! ([`send`]).
//!
//! Bodies are read and written whole here. The host bounds them; [`bindings`] has the streams underneath.

pub mod bindings;
pub mod service;

mod client;
mod stream;

use serde::Deserialize;
use serde::Serialize;

use crate::json;

pub use client::{Outgoing, send};
pub use service::Problem;

/// A request to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method, such as `GET`.
    pub method: String,
    /// The whole path, the route included, still percent-encoded.
    pub path: String,
    /// What follows the `?`, still percent-encoded.
    pub query: Option<String>,
    /// Names in lower case, with their values, in the order in which they came. `host`, `connection` and their like
    /// are skipped.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status, 200 to 599.
    pub status: u16,
    /// Names with their values. `content-length` is added where it is missing.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The first value of a header, where it is text. The name is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        first(&self.headers, name)
    }

    /// What the path has below a prefix, without the slash between: `""` for the prefix itself, none where it lies
    /// elsewhere.
    #[must_use]
    pub fn below(&self, prefix: &str) -> Option<&str> {
        let rest = self.path.strip_prefix(prefix.trim_end_matches('/'))?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
    }

    /// The first value of a parameter of the query, still percent-encoded; empty where it has none.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let pairs = self.query.as_deref().unwrap_or_default().split('&');
        pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// The body as a JSON document. `T` may borrow from the request.
    ///
    /// # Errors
    ///
    /// 400, naming the place within the document, where it is not what `T` asks for.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Problem> {
        json::parse(&self.body).map_err(|reason| Problem::new(400, reason))
    }
}

impl Response {
    /// An answer without a body.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// An answer in plain text.
    #[must_use]
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self::new(status).with_header("content-type", "text/plain; charset=utf-8").with_body(text.into())
    }

    /// An answer in JSON.
    ///
    /// # Errors
    ///
    /// 500 where the value has no form in JSON.
    pub fn json(status: u16, value: &impl Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_vec(value)?;
        Ok(Self::new(status).with_header("content-type", "application/json").with_body(body))
    }

    /// The same with one header more.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same with another body.
    #[must_use]
    pub fn with_body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// The first value of a header, where it is text. The name is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        first(&self.headers, name)
    }
}

fn first<'a>(headers: &'a [(String, Vec<u8>)], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(key, _)| key == name);
    found.and_then(|(_, value)| std::str::from_utf8(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &str, query: Option<&str>) -> Request {
        Request {
            method: "GET".to_owned(),
            path: path.to_owned(),
            query: query.map(str::to_owned),
            headers: vec![("x".to_owned(), b"1".to_vec()), ("x".to_owned(), b"2".to_vec())],
            body: b"{\"n\": \"x\"}".to_vec(),
        }
    }

    #[test]
    fn paths_and_parameters() {
        assert_eq!(request("/notes/7", None).below("/notes"), Some("7"));
        assert_eq!(request("/notes", None).below("/notes/"), Some(""));
        assert_eq!(request("/notebook", None).below("/notes"), None);
        assert_eq!(request("/notesx", None).below("/notes"), None);
        let request = request("/", Some("a=1&b&c=2=3"));
        let found = ["a", "b", "c", "d"].map(|name| request.parameter(name));
        assert_eq!(found, [Some("1"), Some(""), Some("2=3"), None]);
        assert_eq!((request.header("x"), request.header("y")), (Some("1"), None));
    }

    #[test]
    fn a_body_that_is_not_what_is_asked_for_is_the_senders_fault() {
        #[derive(Debug, Deserialize)]
        struct Body {
            #[allow(dead_code, reason = "it is never there")]
            n: u32,
        }
        let problem = request("/", None).json::<Body>().expect_err("it is no number");
        assert_eq!(problem.status, 400);
        assert!(problem.text.starts_with("n: invalid type"), "{}", problem.text);
    }
}
