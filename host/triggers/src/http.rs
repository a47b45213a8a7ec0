//! The HTTP trigger: requests below a route, answered by a plugin.
//!
//! The answer goes out only after its writes are committed (`guest/incoming.rs` has how). What is written after the
//! head is committed when the call ends, and the client gets the end of the answer only then; where that fails, or
//! the call does, the connection is cut. A call is never run twice for one request: its body may be read only once.
//!
//! A request is bounded in its body, its time and the number at a time; an answer in its body. Who hangs up ends the
//! call, and nothing of it is committed that was not yet.

mod body;
mod refused;
mod routes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, HOST};
use http::{Method, Request, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::stream::WorkerEnd;
use body::{RequestBody, ResponseBody, Withdrawal};
use refused::Refused;
use sandbar_core::manifest::HttpTrigger;
use sandbar_runtime::guest::{AnswerRefusal, Answering, commit};
use sandbar_runtime::pool::{CallError, CallFailure};
use sandbar_runtime::rollout::Rollout;
use sandbar_runtime::telemetry::PluginMetrics;

pub use routes::{Registration, RouteMatch, Routes, normal};

/// How long a request waits for its turn where as many are handled as may be.
const TURN_WAIT: Duration = Duration::from_millis(250);

/// What answers below one route.
#[derive(Debug)]
pub struct Service {
    trigger: HttpTrigger,
    rollout: Arc<Rollout>,
    metrics: PluginMetrics,
    turns: Arc<Semaphore>,
    /// The requests that are not answered to their end.
    under_way: TaskTracker,
    /// Those that are still under way are dropped.
    give_up: CancellationToken,
}

/// A request under way; counted when it is dropped.
#[derive(Debug)]
struct UnderWay {
    metrics: PluginMetrics,
    status: StatusCode,
    begun: Instant,
    _withdrawal: Option<Withdrawal>,
    _token: TaskTrackerToken,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.metrics.answered(self.status.as_u16(), self.begun.elapsed());
    }
}

impl Service {
    /// A service that takes no requests yet.
    pub fn new(trigger: HttpTrigger, rollout: Arc<Rollout>, metrics: PluginMetrics) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(usize::try_from(trigger.concurrency).unwrap_or(1))),
            trigger,
            rollout,
            metrics,
            under_way: TaskTracker::new(),
            give_up: CancellationToken::new(),
        }
    }

    /// The path below which it answers, without a slash at its end.
    pub(super) fn route(&self) -> &str {
        normal(&self.trigger.route)
    }

    /// Takes requests for its route until `stop`, then finishes those under way. `give_up` drops those that are still
    /// running. Another service may have taken the route over by then; before a shutdown [`Routes::close`] sees to it
    /// that no more come.
    pub async fn run(
        self: Arc<Self>,
        registration: Registration,
        ready: Arc<AtomicBool>,
        stop: CancellationToken,
        give_up: CancellationToken,
    ) -> WorkerEnd {
        ready.store(true, Ordering::Relaxed);
        stop.cancelled().await;
        // Where no other service has taken the route over there is none from now on.
        drop(registration);
        self.under_way.close();
        let ended = tokio::select! {
            () = self.under_way.wait() => WorkerEnd::Drained,
            () = give_up.cancelled() => {
                let dropped = self.under_way.len();
                self.give_up.cancel();
                WorkerEnd::Dropped(dropped)
            }
        };
        ready.store(false, Ordering::Relaxed);
        ended
    }

    /// Answers a request.
    pub async fn answer(self: Arc<Self>, request: Request<Body>) -> Response {
        let mut under_way = UnderWay {
            metrics: self.metrics.clone(),
            // What is counted where the client does not wait for it.
            status: StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT),
            begun: Instant::now(),
            _withdrawal: None,
            _token: self.under_way.token(),
        };
        match self.exchange(request, &mut under_way).await {
            Ok((head, body)) => {
                under_way.status = head.status;
                let body = match body {
                    Some(ToCome { body, announced, call }) => {
                        let max = self.trigger.response_bytes.as_u64();
                        Body::new(ResponseBody::new(body, max, announced, call, under_way))
                    }
                    None => Body::empty(),
                };
                Response::from_parts(head, body)
            }
            Err(refused) => {
                under_way.status = refused.status();
                if refused.status().is_server_error() {
                    let (route, status) = (self.route(), refused.status().as_u16());
                    tracing::warn!(
                        route,
                        status,
                        reason = refused.reason(),
                        "a request was not answered by its plugin"
                    );
                }
                refused.into_response()
            }
        }
    }

    /// Has the plugin answer: the head, and what comes of its body.
    async fn exchange(
        self: &Arc<Self>,
        request: Request<Body>,
        under_way: &mut UnderWay,
    ) -> Result<(http::response::Parts, Option<ToCome>), Refused> {
        if request.uri().authority().is_none() && !request.headers().contains_key(HOST) {
            return Err(Refused::NoHost);
        }
        let max = self.trigger.request_bytes.as_u64();
        if hyper::body::Body::size_hint(request.body()).lower() > max {
            return Err(Refused::Withheld(AnswerRefusal::TooLarge));
        }
        self.rollout.active().try_admit(1).map_err(Refused::TooMany)?;
        let turn = timeout(TURN_WAIT, self.turns.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Refused::Busy) };
        let is_head = request.method() == Method::HEAD;
        let answering = Arc::new(Answering::new(&self.trigger.route, self.trigger.response_bytes.as_u64()));
        let (head, body) = request.into_parts();
        let (body, withdrawal) = RequestBody::new(body, max, answering.clone());
        under_way._withdrawal = Some(withdrawal);
        let (answer, answered) = oneshot::channel();
        let call = self.clone().call(Request::from_parts(head, body), answering, answer, turn);
        let share = self.rollout.active().context().quota.share().clone();
        let call =
            async move { share.place(call).await.unwrap_or_else(|ended| Err(Refused::Unanswered(ended.to_string()))) };
        let call = AbortOnDropHandle::new(tokio::spawn(call));
        match answered.await {
            Ok(Ok(response)) => {
                let (head, body) = response.into_parts();
                let announced = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
                let is_bodiless =
                    is_head || head.status == StatusCode::NO_CONTENT || head.status == StatusCode::NOT_MODIFIED;
                if is_bodiless || hyper::body::Body::size_hint(&body).exact() == Some(0) {
                    // The head is all that the client gets, so it waits for the end of the call.
                    drop(body);
                    finished(call).await?;
                    return Ok((head, None));
                }
                Ok((head, Some(ToCome { body, announced, call })))
            }
            Ok(Err(code)) => {
                finished(call).await?;
                Err(Refused::Unanswered(format!("the plugin answered an error: {code:?}")))
            }
            Err(_) => {
                finished(call).await?;
                Err(Refused::Unanswered("the plugin ended without an answer".to_owned()))
            }
        }
    }

    /// Runs the call to its end, and commits what it has written after its answer.
    async fn call(
        self: Arc<Self>,
        request: Request<RequestBody>,
        answering: Arc<Answering>,
        answer: oneshot::Sender<sandbar_runtime::pool::IncomingAnswer>,
        turn: OwnedSemaphorePermit,
    ) -> Result<(), Refused> {
        let (pool, begun) = (self.rollout.choose(), Instant::now());
        let name = format!("{} {}", request.method(), request.uri().path());
        let served = tokio::select! {
            served = pool.serve(request, answering.clone(), answer, self.trigger.timeout) => served,
            () = self.give_up.cancelled() => return Err(Refused::Draining),
        };
        drop(turn);
        if let Some(took) = answering.committed_in() {
            self.metrics.committed(0, took);
        }
        let is_fault = match &served {
            Ok(_) => answering.refusal().is_none() && (answering.is_server_error() || !answering.is_answered()),
            // What it did after its answer was withheld is not its fault.
            Err(_) => answering.refusal().is_none(),
        };
        pool.settled(1, is_fault.then_some(name));
        let refused = match (served, answering.refusal()) {
            (_, Some(refusal)) => Err(refusal),
            (Ok(ended), None) if answering.is_answered() => {
                let took = begun.elapsed();
                self.metrics.handled(0, took);
                pool.answered(1, took);
                commit(pool.context(), ended).await.map(|took| took.map_or((), |took| self.metrics.committed(0, took)))
            }
            // What a plugin has written that did not answer counts for nothing.
            (Ok(_), None) => Ok(()),
            (Err(CallFailure { error, .. }), None) => {
                self.metrics.failed(error.kind());
                return Err(Refused::Failed(error));
            }
        };
        refused.map_err(|refusal| {
            if let AnswerRefusal::NotCommitted(error) = &refusal {
                self.metrics.commit_lost(error.kind());
            }
            Refused::Withheld(refusal)
        })
    }
}

/// A body that is still being written.
struct ToCome {
    body: wasmtime_wasi_http::p2::body::HyperOutgoingBody,
    announced: Option<u64>,
    call: body::Call,
}

/// Waits for the end of a call.
async fn finished(call: body::Call) -> Result<(), Refused> {
    // A task of ours that panicked has answered nothing.
    call.await.unwrap_or_else(|error| Err(Refused::Failed(CallError::Trap(error.to_string()))))
}
