//! A host with one plugin and a server before it, and a client that speaks bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sandbar_core::config::Config;
use sandbar_runtime::telemetry::Exporter;
use sandbar_server::http::{self, Health, HealthReport, HttpState, Phase};
use sandbar_store::embedded::Embedded;
use sandbar_store::{Store, connect};
use sandbar_tests::{RedisServer, TestHost};
use sandbar_triggers::http::Routes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(30);

/// A host whose plugin answers below `/t`.
pub(crate) struct Site {
    pub(crate) test: TestHost,
    pub(crate) address: SocketAddr,
    _server: AbortOnDropHandle<()>,
}

/// A server before routes, and clients of it.
pub(crate) struct Front {
    address: SocketAddr,
    _server: AbortOnDropHandle<()>,
}

impl Front {
    pub(crate) async fn of(routes: Routes) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = HttpState { health: Arc::new(Fine), exporter: Exporter::install(), routes };
        let server = tokio::spawn(http::serve(listener, state, 100, CancellationToken::new()));
        Self { address, _server: AbortOnDropHandle::new(server) }
    }

    pub(crate) async fn client(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    pub(crate) async fn get(&self, target: &str) -> String {
        let mut client = self.client().await;
        client.send(request("GET", target, "")).await;
        client.rest().await
    }
}

struct Fine;

impl Health for Fine {
    fn health(&self) -> HealthReport {
        HealthReport { phase: Phase::Running, store_up: true, plugins: Vec::new(), degraded: Vec::new() }
    }
}

/// A manifest with an HTTP trigger; `trigger` are more lines of it, `rest` what follows.
pub(crate) fn manifest(trigger: &str, rest: &str) -> String {
    let grants = "[grants]\nread = [\"*\"]\nwrite = [\"*\"]\npublish = [\"*\"]\n";
    format!("name = \"guest\"\n[[trigger]]\ntype = \"http\"\nroute = \"/t\"\n{trigger}\n{grants}{rest}\n")
}

impl Site {
    /// On an embedded store.
    pub(crate) async fn embedded(component: &str, trigger: &str) -> Self {
        Self::on(Arc::new(Embedded::new()), component, &manifest(trigger, "")).await
    }

    pub(crate) async fn on(store: Arc<dyn Store>, component: &str, manifest: &str) -> Self {
        Self::with(Config::default(), store, component, manifest).await
    }

    pub(crate) async fn with(config: Config, store: Arc<dyn Store>, component: &str, manifest: &str) -> Self {
        let test = TestHost::with(config, store, component, manifest).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = HttpState { health: Arc::new(Fine), exporter: Exporter::install(), routes: test.host.routes() };
        let server = tokio::spawn(http::serve(listener, state, 100, CancellationToken::new()));
        Self { test, address, _server: AbortOnDropHandle::new(server) }
    }

    /// The same test once on each store.
    pub(crate) async fn on_both(component: &str, trigger: &str, run: impl AsyncFn(Self)) {
        run(Self::embedded(component, trigger).await).await;
        let server = RedisServer::start();
        run(Self::on(redis(&server).await, component, &manifest(trigger, "")).await).await;
    }

    pub(crate) async fn client(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// Sends bytes and answers all that comes back until the connection ends.
    pub(crate) async fn exchange(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut client = self.client().await;
        client.send(bytes).await;
        client.rest().await
    }

    /// A request with a body, on a connection of its own.
    pub(crate) async fn ask(&self, method: &str, target: &str, body: &str) -> String {
        self.exchange(request(method, target, body)).await
    }

    pub(crate) async fn get(&self, target: &str) -> String {
        self.ask("GET", target, "").await
    }

    pub(crate) async fn post(&self, target: &str, body: &str) -> String {
        self.ask("POST", target, body).await
    }
}

/// A store in a server that answers soon or not at all.
pub(crate) async fn redis(server: &RedisServer) -> Arc<dyn Store> {
    let config = sandbar_core::config::StoreConfig {
        url: server.url(),
        response_timeout: Duration::from_secs(1),
        ..sandbar_core::config::StoreConfig::default()
    };
    connect(&config).await.unwrap()
}

/// The bytes of a request after which the connection ends.
pub(crate) fn request(method: &str, target: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx-a: a\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// A connection of a client.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    /// Sends bytes, some of which the server may not want.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _not_wanted = self.0.write_all(bytes.as_ref()).await;
    }

    /// All that comes until the connection ends or is cut.
    pub(crate) async fn rest(&mut self) -> String {
        let mut answer = Vec::new();
        let _cut = tokio::time::timeout(LIMIT, self.0.read_to_end(&mut answer)).await.expect("the connection ends");
        String::from_utf8(answer).unwrap()
    }

    /// What comes until it ends with a text.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        let mut answer = Vec::new();
        let read = async {
            while !answer.ends_with(end.as_bytes()) {
                let byte = self.0.read_u8().await;
                answer.push(byte.unwrap_or_else(|error| panic!("`{end}` did not come: {error}")));
            }
        };
        tokio::time::timeout(LIMIT, read).await.expect("more comes");
        String::from_utf8(answer).unwrap()
    }
}
