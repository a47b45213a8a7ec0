//! Bodies, read and written whole.

use super::bindings::wasi::http::types::{IncomingBody, OutgoingBody};
use super::bindings::wasi::io::streams::StreamError;

/// The most bytes that are read at once.
const READ_BYTES: u64 = 64 * 1024;

/// Reads a body to its end. The error is the host's words.
pub(super) fn read(body: IncomingBody) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let stream = body.stream().map_err(|()| "the body was read before".to_owned())?;
    let read = loop {
        match stream.blocking_read(READ_BYTES) {
            Ok(part) => bytes.extend(part),
            Err(StreamError::Closed) => break Ok(bytes),
            Err(StreamError::LastOperationFailed(error)) => break Err(error.to_debug_string()),
        }
    };
    drop(stream);
    drop(IncomingBody::finish(body));
    read
}

/// Writes a body and ends it. False where the reader is gone.
pub(super) fn write(body: OutgoingBody, bytes: &[u8]) -> bool {
    let Ok(stream) = body.write() else { return false };
    let mut rest = bytes;
    while !rest.is_empty() {
        let Ok(room) = stream.check_write() else { return false };
        let (part, behind) = rest.split_at(rest.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
        if part.is_empty() {
            stream.subscribe().block();
        } else if stream.write(part).is_err() {
            return false;
        }
        rest = behind;
    }
    drop(stream);
    OutgoingBody::finish(body, None).is_ok()
}
