//! Bodies of HTTP messages with bounds: bytes, and time without any.
//!
//! Knows nothing of who sends or reads them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use wasmtime_wasi_http::Error;

/// A body that ends with an error where it is larger than its bound.
#[derive(Debug)]
pub(crate) struct Bounded<B> {
    body: B,
    left: u64,
    /// What the error is.
    over: Over,
}

/// The error about a body that is too large.
pub(crate) type Over = fn() -> Error;

impl<B> Bounded<B> {
    /// The body, of at most `max` bytes.
    pub(crate) fn new(body: B, max: u64, over: Over) -> Self {
        Self { body, left: max, over }
    }
}

impl<B: Body<Data = Bytes, Error = Error> + Unpin> Body for Bounded<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            match this.left.checked_sub(data.remaining() as u64) {
                Some(left) => this.left = left,
                None => return Poll::Ready(Some(Err((this.over)()))),
            }
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

/// A body that ends with an error where nothing of it comes for too long, or where it has not ended by its deadline.
#[derive(Debug)]
pub(crate) struct Paced<B> {
    body: B,
    idle: Duration,
    deadline: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl<B> Paced<B> {
    /// The body, of which something must come within each `idle`, and all before `deadline`.
    pub(crate) fn new(body: B, idle: Duration, deadline: Instant) -> Self {
        Self { body, idle, deadline, sleep: Box::pin(sleep_until(deadline.min(Instant::now() + idle))) }
    }
}

impl<B> Body for Paced<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Error>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(_)) if Instant::now() >= this.deadline => {
                Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
            }
            Poll::Ready(frame) => {
                this.sleep.as_mut().reset(this.deadline.min(Instant::now() + this.idle));
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                ready!(this.sleep.as_mut().poll(cx));
                Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full, StreamBody};

    use super::*;

    fn over() -> Error {
        Error::HttpResponseBodySize(None)
    }

    fn full(bytes: &'static [u8]) -> impl Body<Data = Bytes, Error = Error> + Unpin {
        Full::new(Bytes::from_static(bytes)).map_err(Error::from)
    }

    #[tokio::test]
    async fn bytes_are_bounded() {
        let read = Bounded::new(full(b"12345"), 5, over).collect().await.unwrap();
        assert_eq!(read.to_bytes(), "12345");
        assert!(matches!(
            Bounded::new(full(b"123456"), 5, over).collect().await,
            Err(Error::HttpResponseBodySize(None))
        ));
    }

    #[tokio::test]
    async fn silence_and_time_are_bounded() {
        let (idle, deadline) = (Duration::from_millis(200), Instant::now() + Duration::from_millis(500));
        let begun = Instant::now();
        let silent = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Error>>());
        assert!(matches!(Paced::new(silent, idle, deadline).collect().await, Err(Error::ConnectionReadTimeout)));
        assert!(begun.elapsed() >= idle && Instant::now() < deadline);
        let drops = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Some((Ok::<_, Error>(Frame::data(Bytes::from_static(b"x"))), ()))
        });
        let body = Paced::new(StreamBody::new(Box::pin(drops)), idle, deadline);
        assert!(matches!(body.collect().await, Err(Error::ConnectionReadTimeout)));
        assert!(Instant::now() >= deadline);
    }
}
