//! What plugins send over HTTP: only where they may, and within bounds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sandbar_core::config::Config;
use sandbar_store::embedded::Embedded;
use sandbar_tests::{TestHost, components, open_manifest};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// A server that answers by the path, and counts requests.
pub(crate) struct Server {
    address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    secrets: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    async fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self { address, connections: Arc::default(), secrets: Arc::default() };
        let (connections, secrets) = (server.connections.clone(), server.secrets.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                let (tls, secrets) = (tls.clone(), secrets.clone());
                tokio::spawn(async move {
                    match tls {
                        None => answer(stream, &secrets).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                answer(stream, &secrets).await;
                            }
                        }
                    }
                });
            }
        });
        server
    }

    pub(crate) fn at(&self) -> String {
        self.address.to_string()
    }
}

/// Answers one request. The client may hang up at any time.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, secrets: &AtomicUsize) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    };
    let length: usize = header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    let silence = || tokio::time::sleep(Duration::from_secs(60));
    let whole = |status: &str, headers: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    let path = target.split('?').next().unwrap();
    let sent = match path {
        "/hello" => {
            let asked = header("x-asked").unwrap_or_default();
            let headers = format!("x-target: {target}\r\nx-asked: {asked}\r\nx-host: {}\r\n", header("host").unwrap());
            stream.write_all(&whole("200 OK", &headers, b"hello")).await
        }
        "/echo" => stream.write_all(&whole("200 OK", "", &body)).await,
        "/redirect" => stream.write_all(&whole("302 Found", "location: /secret\r\n", b"")).await,
        "/secret" => {
            secrets.fetch_add(1, Ordering::Relaxed);
            stream.write_all(&whole("200 OK", "", b"secret")).await
        }
        "/silent" => return silence().await,
        "/stalls" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345").await;
            return silence().await;
        }
        "/large" => stream.write_all(&whole("200 OK", "", &vec![b'x'; 100_000])).await,
        "/endless" => {
            let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            while sent.is_ok() {
                sent = stream.write_all(b"5\r\n12345\r\n").await;
            }
            sent
        }
        "/headers" => stream.write_all(&whole("200 OK", &"x: y\r\n".repeat(500), b"")).await,
        _ => stream.write_all(&whole("404 Not Found", "", b"")).await,
    };
    let _hung_up = sent;
}

/// A host whose tenant grants these hosts, and lists these addresses that are not public.
async fn host(http: &[&str], private: &[&str], deadline: &str) -> TestHost {
    let toml = format!(
        "[tenant]\nhttp-private = {private:?}\n[tenant.grants]\nread = [\"*\"]\nwrite = [\"*\"]\nhttp = {http:?}\n"
    );
    start(Config::parse(&toml).unwrap(), deadline).await
}

async fn start(config: Config, deadline: &str) -> TestHost {
    let limits = format!(
        "http = [\"*\"]\n[limits]\ndeadline = \"{deadline}\"\nhttp-request-bytes = \"64KiB\"\nhttp-response-bytes = \"64KiB\"\nhttp-requests = 2"
    );
    let manifest = open_manifest("batch = 1\nretry-min = \"1ms\"\nretry-max = \"2ms\"\nmax-attempts = 1", &limits);
    TestHost::with(config, Arc::new(Embedded::new()), components::HTTP_SEND, &manifest).await
}

/// Has the plugin do these things, all of which pass.
async fn passes(test: &TestHost, at: &str, words: &[&str]) {
    for (done, word) in words.iter().enumerate() {
        test.feed(&[&[("do", word), ("at", at)]]).await;
        test.settled(u64::try_from(done).unwrap() + 1).await;
    }
    assert_eq!(test.reasons().await, Vec::<String>::new());
    assert_eq!(test.value("passed").await, Some(words.len().to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_granted_host_answers_and_redirects_are_handed_on() {
    let server = Server::start().await;
    let test = host(&[&server.at()], &[], "10s").await;
    passes(&test, &server.at(), &["answer", "redirect", "invalid"]).await;
    assert_eq!(server.secrets.load(Ordering::Relaxed), 0, "a redirect was followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_hosts_are_denied() {
    let server = Server::start().await;
    let other = Server::start().await;
    let test = host(&[&server.at()], &["127.0.0.0/8"], "10s").await;
    passes(&test, &other.at(), &["denied"]).await;
    let named = format!("localhost:{}", server.address.port());
    test.feed(&[&[("do", "denied"), ("at", &named)]]).await;
    test.settled(2).await;
    assert_eq!(test.reasons().await, Vec::<String>::new());
    assert_eq!(server.connections.load(Ordering::Relaxed) + other.connections.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_address_must_be_listed() {
    let server = Server::start().await;
    let port = server.address.port();
    // Names, other ways to write an address, and addresses of IPv6 that stand for it.
    let ways = ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0.0.0.0"];
    let test = host(&["*"], &["10.0.0.0/8"], "10s").await;
    for (done, way) in ways.iter().enumerate() {
        test.feed(&[&[("do", "denied"), ("at", &format!("{way}:{port}"))]]).await;
        test.settled(u64::try_from(done).unwrap() + 1).await;
    }
    assert_eq!(test.reasons().await, Vec::<String>::new());
    assert_eq!(server.connections.load(Ordering::Relaxed), 0, "nothing was connected to");

    let named = format!("localhost:{port}");
    let test = host(&["localhost"], &["127.0.0.0/8", "::1"], "10s").await;
    passes(&test, &named, &["answer"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_requests_under_way_are_bounded() {
    let server = Server::start().await;
    let test = host(&[&server.at()], &[], "20s").await;
    passes(&test, &server.at(), &["large", "many", "answer"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_is_bounded() {
    let server = Server::start().await;
    let test = host(&[&server.at()], &[], "2s").await;
    passes(&test, &server.at(), &["silent", "stalls", "no-handshake"]).await;
    let begun = Instant::now();
    test.feed(&[&[("do", "forever"), ("at", &server.at())]]).await;
    test.settled(4).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "the server is silent for a minute: {:?}", begun.elapsed());
    // The request ends with the call: which of the two is first is not certain.
    let passed = test.value("passed").await.unwrap();
    let reasons = test.reasons().await;
    assert!(passed == "4" || reasons[0].contains("limits.deadline"), "{passed} {reasons:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_server_is_an_error() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let test = host(&[&gone], &[], "10s").await;
    passes(&test, &gone, &["nobody"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_checked() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let server = Server::start_with(Some(TlsAcceptor::from(Arc::new(config)))).await;
    let at = format!("localhost:{}", server.address.port());
    let test = host(&["localhost"], &["127.0.0.0/8", "::1"], "10s").await;
    passes(&test, &at, &["distrust"]).await;

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).unwrap();
    let mut config = Config::default();
    config.tenants[0].http_ca_file = Some(folder.path().join("ca.pem"));
    config.tenants[0].http_private = vec!["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()];
    config.tenants[0].grants.http = vec!["localhost".into()];
    let test = start(config, "10s").await;
    passes(&test, &at, &["tls"]).await;
}
