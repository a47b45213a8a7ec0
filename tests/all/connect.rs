//! Every way to a server that a url can name, and what is said where there is none that will do.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};

use sandbar_core::config::StoreConfig;
use sandbar_store::{StoreError, connect};
use sandbar_tests::{Options, RedisServer};

fn config(url: impl Into<String>) -> StoreConfig {
    StoreConfig { url: url.into(), ..StoreConfig::default() }
}

async fn increments(config: &StoreConfig) {
    let store = connect(config).await.unwrap();
    assert_eq!(store.increment("connected", 1).await.unwrap(), 1);
}

async fn refusal(url: impl Into<String>) -> StoreError {
    connect(&config(url)).await.unwrap_err()
}

#[tokio::test]
async fn a_unix_socket() {
    increments(&config(RedisServer::start().url())).await;
}

#[tokio::test]
async fn a_user_with_a_password_and_a_database() {
    let server = RedisServer::with(Options::new().port().user("sandbar", "secret"));
    let url = format!("{}/3", server.url());
    increments(&config(&url)).await;
    let mut connection = server.connect();
    redis::cmd("SELECT").arg(3).query::<()>(&mut connection).unwrap();
    assert_eq!(redis::cmd("GET").arg("connected").query::<u64>(&mut connection).unwrap(), 1);

    let wrong = url.replace("secret", "guess");
    let error = refusal(&wrong).await.to_string();
    assert!(error.contains("password") && !error.contains("guess"), "{error}");
}

#[tokio::test]
async fn tls_with_an_authority_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let options = Options::new()
        .config("tls-port", &port.to_string())
        .config("tls-cert-file", certificate.to_str().unwrap())
        .config("tls-key-file", key.to_str().unwrap())
        .config("tls-auth-clients", "no");
    let _server = RedisServer::with(options);
    let url = format!("rediss://localhost:{port}");
    increments(&StoreConfig { ca_file: Some(certificate), ..config(&url) }).await;

    let unknown = refusal(&url).await.to_string();
    assert!(unknown.to_lowercase().contains("certificate"), "{unknown}");
    let missing = StoreConfig { ca_file: Some(folder.path().join("none.pem")), ..config(&url) };
    assert!(connect(&missing).await.unwrap_err().to_string().contains("store.ca-file"));
}

#[tokio::test]
async fn no_server_and_no_url() {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let nobody = refusal(format!("redis://user:secret@127.0.0.1:{port}")).await;
    let text = nobody.to_string();
    assert!(matches!(nobody, StoreError::Unavailable(_)) && text.contains(&port.to_string()), "{text}");
    assert!(!text.contains("secret"), "{text}");
    let nonsense = refusal("http://example.com").await.to_string();
    assert!(nonsense.contains("redis://") && nonsense.contains("embedded"), "{nonsense}");
}

#[tokio::test]
async fn servers_that_are_too_old_are_named() {
    let six = refusal(format!("redis://127.0.0.1:{}", stand_in("6.0.16", true))).await.to_string();
    assert!(six.contains("Redis 6.0.16") && six.contains("6.2"), "{six}");
    let five = refusal(format!("redis://127.0.0.1:{}", stand_in("5.0.14", false))).await.to_string();
    assert!(five.contains("6.2"), "{five}");
}

/// A server that only says how old it is; no such Redis can be installed beside the real one.
fn stand_in(version: &'static str, knows_hello: bool) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut reader = BufReader::new(client.try_clone().unwrap());
            while let Some(words) = command(&mut reader) {
                let info = format!("# Server\r\nredis_version:{version}\r\n");
                let answer = match words.first().map(String::as_str) {
                    Some("HELLO") if knows_hello => "%1\r\n+proto\r\n:3\r\n".to_owned(),
                    Some("INFO") => format!("${}\r\n{info}\r\n", info.len()),
                    Some("HELLO") => "-ERR unknown command `HELLO`\r\n".to_owned(),
                    _ => "+OK\r\n".to_owned(),
                };
                if client.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    port
}

/// The next command that a client sends.
fn command(reader: &mut impl BufRead) -> Option<Vec<String>> {
    let number = |mark: char, reader: &mut dyn BufRead| -> Option<usize> {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        line.trim().strip_prefix(mark)?.parse().ok()
    };
    let count = number('*', reader)?;
    let mut words = Vec::new();
    for _ in 0..count {
        let length = number('$', reader)?;
        let mut word = vec![0; length + 2];
        reader.read_exact(&mut word).ok()?;
        words.push(String::from_utf8_lossy(&word[..length]).to_uppercase());
    }
    Some(words)
}
