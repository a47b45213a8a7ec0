//! A host with the API before it, and a client that asks it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sandbar_core::config::Config;
use sandbar_core::token::{Minted, Role, Scope};
use sandbar_fleet::token_registry::Registry;
use sandbar_runtime::telemetry::Exporter;
use sandbar_server::api::{Api, HasHost};
use sandbar_server::host::Host;
use sandbar_server::http::serve_router;
use sandbar_store::Store;
use sandbar_store::embedded::Embedded;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Two tenants.
pub(crate) const TENANTS: &str =
    "[[tenant]]\nname = \"acme\"\nprefix = \"acme:\"\n[[tenant]]\nname = \"other\"\nprefix = \"other:\"\n";

pub(crate) struct Hosting(pub(crate) Host);

impl HasHost for Hosting {
    fn host(&self) -> &Host {
        &self.0
    }
}

/// A host with the API before it.
pub(crate) struct Site {
    pub(crate) hosting: Arc<Hosting>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) tokens: Registry,
    pub(crate) exporter: Exporter,
    address: SocketAddr,
    _server: AbortOnDropHandle<()>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The text of an error.
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_else(|| panic!("no error: {self:?}")).to_owned()
    }
}

impl Site {
    /// On an embedded store, with two tenants.
    pub(crate) async fn start() -> Self {
        Self::with(TENANTS, Arc::new(Embedded::new())).await
    }

    pub(crate) async fn with(config: &str, store: Arc<dyn Store>) -> Self {
        let exporter = Exporter::install();
        let host = Host::start(Config::parse(config).unwrap(), store.clone()).await.unwrap();
        host.join_fleet(None).await.unwrap();
        let hosting = Arc::new(Hosting(host));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Api::new(hosting.clone()).router();
        let server = tokio::spawn(serve_router(listener, router, 100, CancellationToken::new()));
        let tokens = Registry::new(store.clone(), "");
        Self { hosting, store, tokens, exporter, address, _server: AbortOnDropHandle::new(server) }
    }

    /// A new token.
    pub(crate) async fn token(&self, tenant: &str, role: Role) -> Minted {
        self.tokens.create("test", Scope::from(tenant.to_owned()), role, None).await.unwrap()
    }

    /// The header of a new token.
    pub(crate) async fn key(&self, tenant: &str, role: Role) -> String {
        bearer(&self.token(tenant, role).await)
    }

    /// Sends a request with JSON, or nothing, in its body.
    pub(crate) async fn ask(&self, method: &str, path: &str, key: Option<&str>, body: &str) -> Answer {
        self.send(method, path, key, "application/json", body.as_bytes()).await
    }

    pub(crate) async fn get(&self, path: &str, key: &str) -> Answer {
        self.ask("GET", path, Some(key), "").await
    }

    pub(crate) async fn post(&self, path: &str, key: &str, body: &str) -> Answer {
        self.ask("POST", path, Some(key), body).await
    }

    /// Deploys a component; `query` is what comes behind the path.
    pub(crate) async fn deploy(&self, query: &str, key: &str, manifest: &str, component: &[u8]) -> Answer {
        let part = |name: &str| {
            format!("--frontier\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"f\"\r\n\r\n")
        };
        let mut body = format!("{}{manifest}\r\n{}", part("manifest"), part("component")).into_bytes();
        body.extend_from_slice(component);
        body.extend_from_slice(b"\r\n--frontier--\r\n");
        let kind = "multipart/form-data; boundary=frontier";
        self.send("POST", &format!("/plugins{query}"), Some(key), kind, &body).await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, key: Option<&str>, kind: &str, body: &[u8]) -> Answer {
        let key = key.map(|key| format!("authorization: {key}\r\n")).unwrap_or_default();
        let kind = if body.is_empty() { String::new() } else { format!("content-type: {kind}\r\n") };
        let length = body.len();
        let head = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{key}{kind}content-length: {length}\r\n\r\n"
        );
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.exchange(&bytes).await
    }

    /// Begins a request with a body that does not come.
    pub(crate) async fn begin(&self, path: &str, key: &str, kind: &str) -> TcpStream {
        let head = format!(
            "POST /api/v1{path} HTTP/1.1\r\nhost: h\r\nauthorization: {key}\r\ncontent-type: {kind}\r\ncontent-length: 100\r\n\r\n"
        );
        let mut client = TcpStream::connect(self.address).await.unwrap();
        client.write_all(head.as_bytes()).await.unwrap();
        client
    }

    /// Sends bytes and takes the answer apart.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> Answer {
        let mut client = TcpStream::connect(self.address).await.unwrap();
        let _not_wanted = client.write_all(bytes).await;
        let mut answer = Vec::new();
        let _cut = tokio::time::timeout(LIMIT, client.read_to_end(&mut answer)).await.expect("the connection ends");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, text) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: `{answer}`"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{head}"));
        Answer { status, head: head.to_ascii_lowercase(), text: text.to_owned() }
    }
}

/// The header of a token.
pub(crate) fn bearer(token: &Minted) -> String {
    format!("Bearer {}", token.token.expose())
}
