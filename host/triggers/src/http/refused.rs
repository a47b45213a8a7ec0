//! What the host answers in a plugin's place. Pure.
//!
//! The texts are short and the same for every client: what went wrong inside is logged and counted, not answered.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONNECTION, RETRY_AFTER};
use http::{HeaderValue, StatusCode};

use sandbar_runtime::guest::AnswerRefusal;
use sandbar_runtime::pool::CallError;
use sandbar_runtime::scheduling::quota::Exhausted;
use sandbar_store::CommitError;

/// Why a plugin's answer does not go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// The trigger or the host is ending.
    Draining,
    /// As many requests are handled as may be.
    Busy,
    /// There were more than may be handled in a second.
    TooMany(Exhausted),
    /// The request names no host, which HTTP/1.1 asks for.
    NoHost,
    /// The answer was withheld.
    Withheld(AnswerRefusal),
    /// The call failed.
    Failed(CallError),
    /// The plugin answered that it has failed, or ended without an answer.
    Unanswered(String),
}

impl Refused {
    /// The status.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Draining | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed(error) if error.is_busy() => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NoHost | Self::Withheld(AnswerRefusal::Incomplete) => StatusCode::BAD_REQUEST,
            Self::Withheld(AnswerRefusal::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Withheld(AnswerRefusal::NotCommitted(CommitError::Unacceptable(_))) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::Withheld(AnswerRefusal::NotCommitted(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed(CallError::Deadline(_) | CallError::Cpu(_)) => StatusCode::GATEWAY_TIMEOUT,
            Self::Withheld(AnswerRefusal::Invalid(_) | AnswerRefusal::WriteRefused(_))
            | Self::Failed(_)
            | Self::Unanswered(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Seconds after which another attempt makes sense; none where it makes none.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooMany(exhausted) => Some(exhausted.retry_in.as_secs().saturating_add(1)),
            // Nothing was written, and the watched key can be read anew.
            Self::Withheld(AnswerRefusal::NotCommitted(CommitError::Conflict(_))) => Some(0),
            _ if self.status() == StatusCode::SERVICE_UNAVAILABLE => Some(1),
            _ => None,
        }
    }

    /// What is answered.
    fn text(&self) -> &'static str {
        match self {
            Self::Draining => "shutting down",
            Self::Busy => "too many requests at a time",
            Self::TooMany(_) => "too many requests",
            Self::NoHost => "the header `host` is missing",
            Self::Withheld(AnswerRefusal::TooLarge) => "the body is too large",
            Self::Withheld(AnswerRefusal::NotCommitted(CommitError::Conflict(_))) => {
                "another client has changed this: try again"
            }
            Self::Withheld(AnswerRefusal::NotCommitted(CommitError::Unknown(_))) => {
                "it is not known whether this was done"
            }
            Self::Withheld(AnswerRefusal::NotCommitted(error)) if !matches!(error, CommitError::Unacceptable(_)) => {
                "this could not be stored"
            }
            Self::Failed(error) if error.is_busy() => "not available at the moment",
            Self::Failed(CallError::Deadline(_) | CallError::Cpu(_)) => "it took too long",
            Self::Withheld(_) | Self::Failed(_) | Self::Unanswered(_) => "internal error",
        }
    }

    /// What went wrong, for the log.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Withheld(AnswerRefusal::Invalid(text) | AnswerRefusal::WriteRefused(text))
            | Self::Unanswered(text) => text.clone(),
            Self::Withheld(AnswerRefusal::NotCommitted(error)) => error.to_string(),
            Self::Failed(error) => error.to_string(),
            Self::TooMany(exhausted) => exhausted.to_string(),
            Self::Draining
            | Self::Busy
            | Self::NoHost
            | Self::Withheld(AnswerRefusal::TooLarge | AnswerRefusal::Incomplete) => self.text().to_owned(),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(format!("{}\n", self.text())));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self == Self::Draining {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
