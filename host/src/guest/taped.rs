//! Answers of HTTP requests on a tape.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderValue, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, SizeHint};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::outbound::Exchange;
use crate::tape::{Answer, Fails, Fault, Head, Reel, Slot};

/// The answer that a tape has. Nothing is sent: a request may have an effect.
pub(super) fn played(reel: &Reel, question: &str) -> Result<Exchange, Error> {
    let unknown = || {
        Err(Unplayable(format!("there is no answer to `{question}` on the tape, and nothing is sent while it plays")))
    };
    let head: Head = reel
        .find_once(question)
        .unwrap_or_else(unknown)
        .map_err(|Unplayable(text)| Error::InternalError(Some(text)))?;
    let odd = |_| Error::InternalError(Some(format!("the answer to `{question}` on the tape is none")));
    let body = Full::new(head.body).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = u16::try_from(head.status)
        .ok()
        .and_then(|status| http::StatusCode::from_u16(status).ok())
        .ok_or(())
        .map_err(odd)?;
    for (name, value) in head.headers {
        let name: http::HeaderName = name.parse().map_err(|_| odd(()))?;
        response.headers_mut().append(name, HeaderValue::from_bytes(&value).map_err(|_| odd(()))?);
    }
    Ok((response, Box::new(async { Ok(()) })))
}

/// Why no answer can be played, or was given when it was recorded.
struct Unplayable(String);

impl Fails for Unplayable {
    fn fault(&self) -> Fault {
        Fault { kind: "http".to_owned(), text: self.0.clone() }
    }
    fn from_fault(fault: Fault) -> Self {
        Self(fault.text)
    }
}

/// Notes that a request was not answered.
pub(super) fn failed(reel: &Reel, question: String, error: &Error) {
    reel.note::<Head, _>(question, Err(&Unplayable(error.to_string())));
}

/// Notes an answer: its head now, its body as it is read.
pub(super) fn recorded(
    reel: &std::sync::Arc<Reel>,
    question: String,
    response: Response<WasiBody>,
) -> Response<WasiBody> {
    let headers =
        response.headers().iter().map(|(name, value)| (name.to_string(), Bytes::copy_from_slice(value.as_bytes())));
    let head = Head { status: response.status().as_u16().into(), headers: headers.collect(), body: Bytes::new() };
    match reel.begin(question, head.write()) {
        Some(slot) => response.map(|body| Taped { body, slot }.boxed_unsync()),
        None => response,
    }
}

/// A body that is noted as it is read.
struct Taped {
    body: WasiBody,
    slot: Slot,
}

impl Body for Taped {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            this.slot.more(data);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
