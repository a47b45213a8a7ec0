//! A TCP proxy in front of a server, which loses and delays what passes through it.
//!
//! Its faults are drawn from a seed: one generator for each connection, in the order of the connections. It does not
//! know the protocol, but can be set to spoil only requests that contain certain bytes. It runs on a thread of its
//! own, so that it works in tests with and without a runtime.

mod faults;
mod session;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

pub use faults::Faults;

/// What the proxy lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything, but for the faults.
    Open,
    /// Nothing, while connections stay open; what was held passes when it opens again.
    Frozen,
    /// Connections are cut, and new ones are closed at once.
    Closed,
}

/// What the proxy has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections accepted.
    pub connections: u64,
    /// Pieces of requests that passed unharmed.
    pub passed: u64,
    /// Connections cut before a request was forwarded.
    pub cut: u64,
    /// Requests of which only the beginning was forwarded.
    pub torn: u64,
    /// Requests that were carried out while their replies were dropped.
    pub replies_lost: u64,
    /// Requests that reached the server after the client was cut off.
    pub late: u64,
    /// Requests that reached the server after the client gave up by itself.
    pub stalled: u64,
    /// Requests that were held for a moment.
    pub delayed: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, passed, cut, torn, replies_lost, late, stalled, delayed } = self;
        write!(f, "{connections} connections, {passed} requests passed, {cut} cut, {torn} torn, ")?;
        write!(f, "{replies_lost} replies lost, {late} late, {stalled} stalled, {delayed} delayed")
    }
}

/// What sessions share with the proxy.
#[derive(Debug)]
struct Shared {
    faults: Mutex<Faults>,
    counts: Mutex<Counts>,
    mode: watch::Sender<Mode>,
}

impl Shared {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().expect("nobody panics while counting")
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().expect("nobody panics while reading the faults")
    }
}

/// A running proxy; its connections are cut when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and forwards to `target_port`.
    pub fn start(target_port: u16, faults: Faults, seed: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("proxy")
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            faults: Mutex::new(faults),
            counts: Mutex::default(),
            mode: watch::Sender::new(Mode::Open),
        });
        runtime.spawn(accept(listener, SocketAddr::from((Ipv4Addr::LOCALHOST, target_port)), shared.clone(), seed));
        Self { address, shared, runtime: Some(runtime) }
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The address for a client without a password.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// What the proxy has done so far.
    pub fn counts(&self) -> Counts {
        *self.shared.counts()
    }

    /// Changes the faults, also of connections that are open.
    pub fn set_faults(&self, faults: Faults) {
        *self.shared.faults() = faults;
    }

    /// Lets through what `mode` says, from now on.
    pub fn set_mode(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: std::net::TcpListener, target: SocketAddr, shared: Arc<Shared>, seed: u64) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    let mut connection: u64 = 0;
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        connection += 1;
        shared.counts().connections += 1;
        let random = StdRng::seed_from_u64(seed.wrapping_add(connection));
        let shared = shared.clone();
        tokio::spawn(async move {
            let mut mode = shared.mode.subscribe();
            tokio::select! {
                _ = mode.wait_for(|mode| *mode == Mode::Closed) => {}
                () = connect(client, target, &shared, random) => {}
            }
        });
    }
}

async fn connect(client: TcpStream, target: SocketAddr, shared: &Shared, random: StdRng) {
    // A server that is away closes the client's connection, as it would without a proxy.
    let Ok(server) = TcpStream::connect(target).await else { return };
    if client.set_nodelay(true).is_ok() && server.set_nodelay(true).is_ok() {
        session::run(client, server, shared, random).await;
    }
}

#[cfg(test)]
mod tests;
