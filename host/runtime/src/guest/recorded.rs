//! Answers of HTTP requests on a recording.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body, Frame, SizeHint};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::outgoing::Exchange;
use crate::replay::{PendingAnswer, RecordableError, RecordedError, RecordedResponse, Recorder};

/// What comes of a request.
type OutgoingAnswer = Box<dyn Future<Output = Result<Exchange, Error>> + Send>;

/// The answer that a recording has. Nothing is sent: a request may have an effect.
pub(super) fn replayed(recorder: &Recorder, question: &str) -> OutgoingAnswer {
    let answer = recorder.find_once::<Option<RecordedResponse>, RequestError>(question).unwrap_or_else(|| {
        let text = format!("the recording has no answer to `{question}`, and nothing is sent during a replay");
        Err(RequestError(Error::InternalError(Some(text))))
    });
    match answer {
        Ok(Some(head)) => {
            let odd = || Error::InternalError(Some(format!("the recorded answer to `{question}` is not a response")));
            let exchange = response(head).map(|response| -> Exchange { (response, Box::new(async { Ok(()) })) });
            let exchange = exchange.ok_or_else(odd);
            Box::new(async move { exchange })
        }
        // The call did not wait for it, so this one does not either.
        Ok(None) => Box::new(std::future::pending()),
        Err(RequestError(error)) => Box::new(async move { Err(error) }),
    }
}

/// The answer as it came.
fn response(head: RecordedResponse) -> Option<Response<WasiBody>> {
    let fault = head.fault.map(|fault| Err(RequestError::from_fault(fault).0));
    let frames = std::iter::once(Ok(Frame::data(head.body))).chain(fault);
    let mut response = Response::new(StreamBody::new(stream::iter(frames)).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(u16::try_from(head.status).ok()?).ok()?;
    for (name, value) in head.headers {
        response.headers_mut().append(name.parse::<HeaderName>().ok()?, HeaderValue::from_bytes(&value).ok()?);
    }
    Some(response)
}

/// Notes what came of a request, where it is noted: an error, or the head of the answer now and its body as it is read.
pub(super) fn noted(slot: Option<PendingAnswer>, answer: Result<Exchange, Error>) -> Result<Exchange, Error> {
    let Some(slot) = slot else { return answer };
    match answer {
        Ok((response, io)) => {
            let header = |(name, value): (&HeaderName, &HeaderValue)| {
                (name.to_string(), Bytes::copy_from_slice(value.as_bytes()))
            };
            let headers = response.headers().iter().map(header).collect();
            slot.answer(&RecordedResponse {
                status: response.status().as_u16().into(),
                headers,
                body: Bytes::new(),
                fault: None,
            });
            Ok((response.map(|body| Recorded { body, slot }.boxed_unsync()), io))
        }
        Err(error) => {
            let error = RequestError(error);
            slot.fail(error.fault());
            Err(error.0)
        }
    }
}

/// A body that is noted as it is read.
struct Recorded {
    body: WasiBody,
    slot: PendingAnswer,
}

impl Body for Recorded {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.slot.more(data);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                let error = RequestError(error);
                this.slot.fail(error.fault());
                Poll::Ready(Some(Err(error.0)))
            }
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Why there is no answer, or no more of it.
struct RequestError(Error);

/// Errors of requests and their names on a recording: those that have nothing more to tell, and those that tell a
/// limit. All others are recorded as text.
macro_rules! errors {
    (plain: $($plain:ident)*; sized: $($sized:ident)*) => {
        impl RecordableError for RequestError {
            fn fault(&self) -> RecordedError {
                let (kind, text) = match &self.0 {
                    $(Error::$plain => (stringify!($plain), String::new()),)*
                    $(Error::$sized(max) => (stringify!($sized), max.map(|max| max.to_string()).unwrap_or_default()),)*
                    Error::DnsError { rcode, .. } => ("DnsError", rcode.clone().unwrap_or_default()),
                    other => ("", other.to_string()),
                };
                RecordedError { kind: kind.to_owned(), text }
            }
            fn from_fault(RecordedError { kind, text }: RecordedError) -> Self {
                Self(match kind.as_str() {
                    $(stringify!($plain) => Error::$plain,)*
                    $(stringify!($sized) => Error::$sized(text.parse().ok()),)*
                    "DnsError" => Error::DnsError { rcode: Some(text), info_code: None },
                    _ => Error::InternalError(Some(text)),
                })
            }
        }
    };
}

errors! {
    plain: ConnectionLimitReached ConnectionReadTimeout ConnectionRefused ConnectionTerminated ConnectionTimeout
        DestinationIpProhibited DestinationNotFound DestinationUnavailable HttpProtocolError HttpRequestDenied
        HttpRequestMethodInvalid HttpRequestUriInvalid HttpResponseIncomplete HttpResponseTimeout TlsCertificateError
        TlsProtocolError;
    sized: HttpRequestBodySize HttpResponseBodySize HttpResponseHeaderSectionSize
}
