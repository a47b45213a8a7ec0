//! Outgoing `wasi:http`: to granted hosts, within the call's deadline and the plugin's limits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::timeout;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

use super::state::{Identity, State};
use super::taped;
use crate::outgoing::{Bounds, Exchange};
use crate::replay::Deck;

/// How long a request waits for another one to end where as many as may be are under way. One that the plugin has dropped ends a moment
/// later.
const PERMIT_WAIT: Duration = Duration::from_millis(100);

type Sent = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answer = Box<dyn Future<Output = Result<Exchange, Error>> + Send>;

/// What an instance needs to send requests.
pub(super) struct Outgoing {
    context: WasiHttpCtx,
    gate: Gate,
}

/// Lets granted requests through.
struct Gate {
    identity: Arc<Identity>,
    deadline: Instant,
    /// One for each request that may be under way at a time.
    permits: Arc<Semaphore>,
    deck: Deck,
}

impl Outgoing {
    pub(super) fn new(identity: Arc<Identity>, deck: Deck) -> Self {
        let permits = Arc::new(Semaphore::new(usize::try_from(identity.limits.http_requests).unwrap_or(1)));
        Self { context: WasiHttpCtx::new(), gate: Gate { identity, deadline: Instant::now(), permits, deck } }
    }

    /// Begins a call that ends at `deadline`.
    pub(super) fn begin(&mut self, deadline: Instant) {
        self.gate.deadline = deadline;
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http.context, table: &mut self.table, hooks: &mut self.http.gate }
    }
}

impl WasiHttpHooks for Gate {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        sent: Sent,
    ) -> Answer {
        // Errors of the request's own body also end the answer, so they are not waited for.
        drop(sent);
        let question = || format!("http.send {} {}", request.method(), request.uri());
        if let Some(reel) = self.deck.playing() {
            return taped::played(&reel, &question());
        }
        let slot = self.deck.recording().and_then(|reel| reel.reserve(question()));
        let (identity, bounds) = (self.identity.clone(), self.bounds(options.unwrap_or_default()));
        // Who asks first gets one first; only where there is none left it takes time.
        let permits = self.permits.clone();
        let permit = permits.clone().try_acquire_owned();
        Box::new(async move {
            let permit = match permit {
                Ok(permit) => Some(permit),
                Err(_) => timeout(PERMIT_WAIT, permits.acquire_owned()).await.ok().and_then(Result::ok),
            };
            let answer = if permit.is_some() {
                let answer = identity.outbound.send(request, &identity.plugin, &identity.policy, bounds).await;
                count(&identity, if answer.is_ok() { "answered" } else { "failed" });
                answer
            } else {
                count(&identity, "limit");
                identity.quota.hit("limits.http-requests");
                Err(Error::ConnectionLimitReached)
            };
            let (response, io) = taped::noted(slot, answer)?;
            let io: Sent = Box::new(async move {
                let ended = Box::into_pin(io).await;
                drop(permit);
                ended
            });
            Ok((response, io))
        })
    }
}

impl Gate {
    /// What a request may take: what the plugin asks for, but no longer than the call has left, and no more than its limits.
    fn bounds(&self, asked: RequestOptions) -> Bounds {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let bound = |asked: Option<Duration>| asked.map_or(left, |asked| asked.min(left));
        Bounds {
            connect: bound(asked.connect_timeout),
            first_byte: bound(asked.first_byte_timeout),
            between_bytes: bound(asked.between_bytes_timeout),
            deadline: self.deadline.into(),
            request_bytes: self.identity.limits.http_request_bytes.as_u64(),
            response_bytes: self.identity.limits.http_response_bytes.as_u64(),
        }
    }
}

fn count(identity: &Identity, outcome: &'static str) {
    let (tenant, plugin) = (identity.tenant.clone(), identity.plugin.clone());
    metrics::counter!("sandbar_outgoing_requests_total", "tenant" => tenant, "plugin" => plugin, "outcome" => outcome)
        .increment(1);
}
