//! The two bodies of an exchange.
//!
//! A request's body is taken away from the plugin when the exchange is over, whatever the plugin has kept of it. An
//! answer's body ends well only when the call has ended well: until then the last part of it is held back, so that a
//! client never takes an answer for complete whose writes were not committed.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body as Incoming;
use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::task::coop::unconstrained;
use tokio_util::task::AbortOnDropHandle;
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::refused::Refused;
use sandbar_runtime::guest::{AnswerRefusal, Answering};

/// The body of a request as the plugin reads it.
#[derive(Debug)]
pub(super) struct RequestBody {
    body: Arc<Mutex<Option<Incoming>>>,
    left: u64,
    answering: Arc<Answering>,
}

/// Takes the body away when it is dropped.
#[derive(Debug)]
pub(super) struct Withdrawal(Arc<Mutex<Option<Incoming>>>);

impl Drop for Withdrawal {
    fn drop(&mut self) {
        self.0.lock().take();
    }
}

impl RequestBody {
    /// The body, of at most `max` bytes, and what takes it away.
    pub(super) fn new(body: Incoming, max: u64, answering: Arc<Answering>) -> (Self, Withdrawal) {
        let body = Arc::new(Mutex::new(Some(body)));
        (Self { body: body.clone(), left: max, answering }, Withdrawal(body))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let mut body = this.body.lock();
        let Some(body) = body.as_mut() else { return Poll::Ready(Some(Err(Error::ConnectionTerminated))) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            match this.left.checked_sub(data.remaining() as u64) {
                Some(left) => this.left = left,
                None => {
                    this.answering.broken(AnswerRefusal::TooLarge);
                    return Poll::Ready(Some(Err(Error::HttpRequestBodySize(None))));
                }
            }
        }
        if let Some(Err(_)) = &frame {
            this.answering.broken(AnswerRefusal::Incomplete);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|_| Error::ConnectionTerminated)))
    }

    fn size_hint(&self) -> SizeHint {
        self.body.lock().as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

/// A call that is still writing an answer's body; it is ended when this is dropped.
pub(super) type Call = AbortOnDropHandle<Result<(), Refused>>;

/// The body of an answer as the client reads it.
pub(super) struct ResponseBody<G> {
    body: HyperOutgoingBody,
    /// Bytes that may still come.
    left: u64,
    /// Bytes that the head has announced and that have not come yet.
    announced: Option<u64>,
    /// The last part, until the call has ended.
    held: Option<Frame<Bytes>>,
    call: Option<Call>,
    /// Why the answer is cut, once all that came before has been written to the client.
    cut: Option<Cut>,
    /// Dropped when all is sent, or when the client is gone.
    _guard: G,
}

/// Why a connection is cut in the middle of an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cut {
    /// The body grew larger than it may.
    #[error("the answer grew beyond `response-bytes`")]
    TooLarge,
    /// The plugin did not write all of it.
    #[error("the plugin did not finish the body of its answer")]
    Unfinished,
    /// The call failed after its answer.
    #[error("the call failed after its answer: {0}")]
    Failed(String),
}

impl<G> ResponseBody<G> {
    pub(super) fn new(body: HyperOutgoingBody, max: u64, announced: Option<u64>, call: Call, guard: G) -> Self {
        Self { body, left: max, announced, held: None, call: Some(call), cut: None, _guard: guard }
    }

    /// Waits until the call has ended. An error where it did not end well.
    fn poll_call(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        let Some(call) = &mut self.call else { return Poll::Ready(Ok(())) };
        let ended = ready!(Pin::new(call).poll(cx));
        self.call = None;
        Poll::Ready(match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(refused)) => Err(Cut::Failed(refused.reason())),
            Err(error) => Err(Cut::Failed(error.to_string())),
        })
    }

    /// Counts a part. True where it is the last that the head has announced.
    fn count(&mut self, frame: &Frame<Bytes>) -> Result<bool, Cut> {
        let bytes = frame.data_ref().map_or(0, |data| data.remaining() as u64);
        self.left = self.left.checked_sub(bytes).ok_or(Cut::TooLarge)?;
        self.announced = self.announced.map(|announced| announced.saturating_sub(bytes));
        Ok(self.announced == Some(0))
    }

    /// The next part that goes to the client, or why there is none.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        loop {
            if self.held.is_some() {
                return match ready!(self.poll_call(cx)) {
                    Ok(()) => Poll::Ready(self.held.take().map(Ok)),
                    Err(cut) => Poll::Ready(Some(Err(cut))),
                };
            }
            // What the plugin has written is there at once when its call has ended; a budget that is used up must not
            // look like less.
            let frame =
                pin!(unconstrained(std::future::poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)))).poll(cx);
            match frame {
                Poll::Ready(Some(Ok(frame))) => match self.count(&frame) {
                    Ok(true) if self.call.is_some() => self.held = Some(frame),
                    Ok(_) => return Poll::Ready(Some(Ok(frame))),
                    Err(cut) => return Poll::Ready(Some(Err(cut))),
                },
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(Cut::Unfinished))),
                Poll::Ready(None) => {
                    return match ready!(self.poll_call(cx)) {
                        Ok(()) => Poll::Ready(None),
                        Err(cut) => Poll::Ready(Some(Err(cut))),
                    };
                }
                Poll::Pending if self.call.is_some() => {
                    if let Err(cut) = ready!(self.poll_call(cx)) {
                        return Poll::Ready(Some(Err(cut)));
                    }
                }
                Poll::Pending => return Poll::Ready(Some(Err(Cut::Unfinished))),
            }
        }
    }
}

impl<G: Unpin> Body for ResponseBody<G> {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        if let Some(cut) = this.cut.take() {
            return Poll::Ready(Some(Err(cut)));
        }
        match ready!(this.poll_part(cx)) {
            Some(Err(cut)) => {
                // An error makes the server forget what it has not written yet, the head among it. It writes when
                // there is nothing to read for the moment, so the error comes with the next poll.
                this.cut = Some(cut);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            part => Poll::Ready(part),
        }
    }
}
