//! When the process is asked to end.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit::{Exit, Failure};
use super::screen::Screen;

/// A token that is cancelled by the first SIGINT or SIGTERM. The second one ends the process at once.
pub(super) fn stop(screen: &Screen) -> Result<CancellationToken, Failure> {
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let (token, screen) = (CancellationToken::new(), screen.clone());
    let asked = token.clone();
    tokio::spawn(async move {
        either(&mut interrupt, &mut terminate).await;
        asked.cancel();
        either(&mut interrupt, &mut terminate).await;
        screen.failure(&Failure::new(Exit::Interrupted, "ended at once, by a second signal"));
        end();
    });
    Ok(token)
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::new(Exit::Failed, format_args!("cannot listen to signals: {error}")))
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[expect(
    clippy::exit,
    reason = "the one place where the process ends without unwinding, because it was asked to twice"
)]
fn end() -> ! {
    std::process::exit(Exit::Interrupted as i32)
}
