//! Outgoing `wasi:http`: to granted hosts, within the call's deadline.

use std::sync::Arc;
use std::time::Instant;

use http_body_util::BodyExt;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView, default_send_request,
};

use super::state::{Identity, State};

type Sent = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answer = Box<dyn Future<Output = Result<(http::Response<WasiBody>, Sent), Error>> + Send>;

/// What an instance needs to send requests.
pub(super) struct Outgoing {
    context: WasiHttpCtx,
    gate: Gate,
}

/// Lets granted requests through.
struct Gate {
    identity: Arc<Identity>,
    deadline: Instant,
}

impl Outgoing {
    pub(super) fn new(identity: Arc<Identity>) -> Self {
        Self { context: WasiHttpCtx::new(), gate: Gate { identity, deadline: Instant::now() } }
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
        let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        if let Err(denied) = self.identity.policy.http(&authority) {
            tracing::warn!(plugin = self.identity.plugin, %denied, "an outgoing request was denied");
            return Box::new(async { Err(Error::HttpRequestDenied) });
        }
        let options = self.bounded(options);
        Box::new(async move {
            let (response, io) = default_send_request(request, Some(options)).await?;
            let io: Sent = Box::new(io);
            Ok((response.map(BodyExt::boxed_unsync), io))
        })
    }
}

impl Gate {
    /// The plugin's time-outs, none longer than the call has left.
    fn bounded(&self, options: Option<RequestOptions>) -> RequestOptions {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let bound = |asked: Option<std::time::Duration>| Some(asked.map_or(left, |asked| asked.min(left)));
        let asked = options.unwrap_or_default();
        RequestOptions {
            connect_timeout: bound(asked.connect_timeout),
            first_byte_timeout: bound(asked.first_byte_timeout),
            between_bytes_timeout: bound(asked.between_bytes_timeout),
        }
    }
}
