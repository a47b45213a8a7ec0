//! Requests of HTTP, served by a warm instance.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Body;
use tokio::sync::oneshot;
use tokio::time::timeout;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{Error, WasiHttpView};

use super::{CallFailure, Pool, export};
use crate::call::FinishedCall;
use crate::guest::Answering;

/// What a plugin answers: a head whose body is still being written, or that it has failed.
pub type IncomingAnswer = Result<Response<HyperOutgoingBody>, ErrorCode>;

impl Pool {
    /// Has the plugin answer a request. The answer goes to `answer` as soon as the writes before it are committed;
    /// the call goes on while its body is written. What it has written after its answer is among what this ends with.
    pub async fn serve<B>(
        &self,
        request: Request<B>,
        answering: Arc<Answering>,
        answer: oneshot::Sender<IncomingAnswer>,
        deadline: Duration,
    ) -> Result<FinishedCall, CallFailure>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        let mut running = self.begin(None, Arc::from([answering.id().to_owned()]), deadline, None).await?;
        running.occasion("http", answering.route());
        let (store, exports, meter, limit) = running.parts();
        let call = async {
            store.data_mut().answering = Some(answering);
            store.data_mut().call().falls_back = true;
            let mut http = store.data_mut().http();
            let request = http.new_incoming_request(Scheme::Http, request)?;
            let answer = http.new_response_outparam(answer)?;
            export(exports.incoming.as_ref())?.call_handle(&mut *store, request, answer).await?;
            store.data_mut().answering = None;
            Ok(Ok(()))
        };
        let came = timeout(limit, self.run(meter, call)).await;
        let ((), ended) = self.end(running, came)?;
        Ok(ended)
    }
}
