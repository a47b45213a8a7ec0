//! One connection through the proxy: requests with their faults one way, replies the other way.

use rand::rngs::StdRng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{oneshot, watch};
use tokio::time::{Duration, sleep, timeout};

use super::faults::Verdict;
use super::{Faults, Mode, Shared};

/// How many bytes of a request are looked at in one piece.
const PIECE_BYTES: usize = 256 * 1024;

/// What the replies' side does from now on.
#[derive(Debug)]
enum HangUp {
    /// Close towards the client at once, and drop what the server still answers.
    Now,
    /// Drop what the server answers, and close towards the client when the server has closed.
    AfterReplies,
}

/// Forwards until one side closes or a fault ends the session.
pub(super) async fn run(client: TcpStream, server: TcpStream, shared: &Shared, random: StdRng) {
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let (hang_up, hung_up) = oneshot::channel();
    let (closed, server_closed) = oneshot::channel::<()>();
    let replies = async {
        forward_replies(server_read, client_write, hung_up, shared.mode.subscribe()).await;
        drop(closed);
    };
    let requests = Requests { client: client_read, server: server_write, hang_up, server_closed };
    tokio::join!(replies, requests.forward(shared, random));
}

/// The way from the client to the server.
struct Requests {
    client: OwnedReadHalf,
    server: OwnedWriteHalf,
    hang_up: oneshot::Sender<HangUp>,
    /// Completes when the server has closed and its replies have been dealt with.
    server_closed: oneshot::Receiver<()>,
}

impl Requests {
    async fn forward(mut self, shared: &Shared, mut random: StdRng) {
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let length = tokio::select! {
                _ = &mut self.server_closed => return,
                length = self.client.read(&mut buffer) => length.unwrap_or(0),
            };
            thawed(&mut shared.mode.subscribe()).await;
            let Some(piece) = buffer.get(..length).filter(|piece| !piece.is_empty()) else {
                return self.finish(&[]).await;
            };
            let verdict = shared.faults().draw(piece, &mut random);
            match verdict {
                Verdict::Pass => shared.counts().passed += 1,
                Verdict::Delay(time) => {
                    shared.counts().delayed += 1;
                    sleep(time).await;
                }
                Verdict::Cut => {
                    shared.counts().cut += 1;
                    return self.cut();
                }
                Verdict::Tear(length) => {
                    shared.counts().torn += 1;
                    let _ = self.server.write_all(&piece[..length]).await;
                    return self.cut();
                }
                Verdict::LoseReply => {
                    shared.counts().replies_lost += 1;
                    return self.lose_reply(piece).await;
                }
                Verdict::Late(time) => {
                    let piece = piece.to_vec();
                    return self.late(&piece, time, shared).await;
                }
                Verdict::Stall(time) => {
                    let piece = piece.to_vec();
                    return self.stall(piece, time, shared).await;
                }
            }
            if self.server.write_all(piece).await.is_err() {
                return;
            }
        }
    }

    /// Ends both directions.
    fn cut(self) {
        let _ = self.hang_up.send(HangUp::Now);
    }

    /// Delivers the last bytes and waits until the server has worked through them.
    async fn finish(mut self, last: &[u8]) {
        if self.server.write_all(last).await.is_ok() && self.server.shutdown().await.is_ok() {
            let _ = self.server_closed.await;
        }
    }

    async fn lose_reply(mut self, piece: &[u8]) {
        let (unused, _) = oneshot::channel();
        let hang_up = std::mem::replace(&mut self.hang_up, unused);
        let _ = hang_up.send(HangUp::AfterReplies);
        self.finish(piece).await;
    }

    async fn late(self, piece: &[u8], time: Duration, shared: &Shared) {
        let Self { client, mut server, hang_up, server_closed } = self;
        let _ = hang_up.send(HangUp::Now);
        drop(client);
        sleep(time).await;
        thawed(&mut shared.mode.subscribe()).await;
        if server.write_all(piece).await.is_ok() && server.shutdown().await.is_ok() {
            shared.counts().late += 1;
            let _ = server_closed.await;
        }
    }

    async fn stall(mut self, mut held: Vec<u8>, time: Duration, shared: &Shared) {
        // What the client sends meanwhile is under way as well.
        let _ = timeout(Faults::PATIENCE, self.client.read_to_end(&mut held)).await;
        sleep(time).await;
        shared.counts().stalled += 1;
        self.finish(&held).await;
    }
}

/// The way from the server to the client.
async fn forward_replies(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    mut hung_up: oneshot::Receiver<HangUp>,
    mut mode: watch::Receiver<Mode>,
) {
    let mut buffer = vec![0; PIECE_BYTES];
    let hang_up = loop {
        let length = tokio::select! {
            biased;
            // The requests' side is gone without a word: its client has closed.
            hang_up = &mut hung_up => break hang_up.unwrap_or(HangUp::Now),
            length = server.read(&mut buffer) => length.unwrap_or(0),
        };
        if length == 0 {
            return;
        }
        thawed(&mut mode).await;
        if client.write_all(&buffer[..length]).await.is_err() {
            break HangUp::Now;
        }
    };
    let client = match hang_up {
        HangUp::Now => {
            drop(client);
            None
        }
        HangUp::AfterReplies => Some(client),
    };
    while server.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
    drop(client);
}

/// Waits while the proxy is frozen.
async fn thawed(mode: &mut watch::Receiver<Mode>) {
    let _ = mode.wait_for(|mode| *mode != Mode::Frozen).await;
}
