//! Outgoing `wasi:http`: to granted hosts, within the call's deadline and the plugin's limits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::timeout;
use wasmtime::component::ResourceTable;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks};

use super::recorded;
use crate::context::PluginContext;
use crate::outgoing::{Bounds, Exchange};
use crate::replay::RecorderSlot;

/// How long a request waits for another one to end where as many as may be are under way. One that the plugin has
/// dropped ends a moment later.
const PERMIT_WAIT: Duration = Duration::from_millis(100);

type Sent = Box<dyn Future<Output = Result<(), Error>> + Send>;
type OutgoingAnswer = Box<dyn Future<Output = Result<Exchange, Error>> + Send>;

/// What an instance needs to send requests.
pub(super) struct Outgoing {
    context: WasiHttpCtx,
    hooks: OutgoingHooks,
}

/// Lets granted requests through.
struct OutgoingHooks {
    context: Arc<PluginContext>,
    deadline: Instant,
    /// One for each request that may be under way at a time.
    permits: Arc<Semaphore>,
    recorder_slot: RecorderSlot,
}

impl Outgoing {
    pub(super) fn new(context: Arc<PluginContext>, recorder_slot: RecorderSlot) -> Self {
        let permits = Arc::new(Semaphore::new(usize::try_from(context.limits.http_requests).unwrap_or(1)));
        Self {
            context: WasiHttpCtx::new(),
            hooks: OutgoingHooks { context, deadline: Instant::now(), permits, recorder_slot },
        }
    }

    /// What wasmtime's implementation works with.
    pub(super) fn view<'a>(&'a mut self, table: &'a mut ResourceTable) -> WasiHttpCtxView<'a> {
        WasiHttpCtxView { ctx: &mut self.context, table, hooks: &mut self.hooks }
    }

    /// Begins a call that ends at `deadline`.
    pub(super) fn begin(&mut self, deadline: Instant) {
        self.hooks.deadline = deadline;
    }
}

impl WasiHttpHooks for OutgoingHooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        sent: Sent,
    ) -> OutgoingAnswer {
        // Errors of the request's own body also end the answer, so they are not waited for.
        drop(sent);
        let question = || format!("http.send {} {}", request.method(), request.uri());
        if let Some(recorder) = self.recorder_slot.replaying() {
            return recorded::replayed(&recorder, &question());
        }
        let slot = self.recorder_slot.recording().and_then(|recorder| recorder.reserve(question()));
        let (context, bounds) = (self.context.clone(), self.bounds(options.unwrap_or_default()));
        // Who asks first gets one first; only where there is none left it takes time.
        let permits = self.permits.clone();
        let permit = permits.clone().try_acquire_owned();
        Box::new(async move {
            let permit = match permit {
                Ok(permit) => Some(permit),
                Err(_) => timeout(PERMIT_WAIT, permits.acquire_owned()).await.ok().and_then(Result::ok),
            };
            let answer = if permit.is_some() {
                let answer = context.outbound.send(request, &context.plugin, &context.policy, bounds).await;
                count(&context, if answer.is_ok() { "answered" } else { "failed" });
                answer
            } else {
                count(&context, "limit");
                context.quota.hit("limits.http-requests");
                Err(Error::ConnectionLimitReached)
            };
            let (response, io) = recorded::noted(slot, answer)?;
            let io: Sent = Box::new(async move {
                let ended = Box::into_pin(io).await;
                drop(permit);
                ended
            });
            Ok((response, io))
        })
    }
}

impl OutgoingHooks {
    /// What a request may take: what the plugin asks for, but no longer than the call has left, and no more than its
    /// limits.
    fn bounds(&self, asked: RequestOptions) -> Bounds {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let bound = |asked: Option<Duration>| asked.map_or(left, |asked| asked.min(left));
        Bounds {
            connect: bound(asked.connect_timeout),
            first_byte: bound(asked.first_byte_timeout),
            between_bytes: bound(asked.between_bytes_timeout),
            deadline: self.deadline.into(),
            request_bytes: self.context.limits.http_request_bytes.as_u64(),
            response_bytes: self.context.limits.http_response_bytes.as_u64(),
        }
    }
}

fn count(context: &PluginContext, outcome: &'static str) {
    let (tenant, plugin) = (context.tenant.clone(), context.plugin.clone());
    metrics::counter!("sandbar_outgoing_requests_total", "tenant" => tenant, "plugin" => plugin, "outcome" => outcome)
        .increment(1);
}
