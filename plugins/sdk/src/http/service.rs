//! From a function to a component that answers requests: what `service!` expands to.

use std::any::Any;
use std::error::Error as StdError;

use super::bindings::wasi::http::types::{
    ErrorCode, Fields, IncomingRequest, Method, OutgoingResponse, ResponseOutparam,
};
use super::{Request, Response, stream};
use crate::failure::Failure;
use crate::types::Error;
use crate::{log, transaction};

/// Makes a function that answers a request the HTTP service of this plugin.
///
/// It takes a `&Request` and answers a `Response`, or a [`Problem`]. What it has written is committed before the
/// answer goes out; where that cannot be done, the host answers 503 in its place. A problem leaves its writes out.
///
/// ```
/// use sandbar_sdk::http::{Problem, Request, Response};
/// use sandbar_sdk::prelude::*;
///
/// fn serve(request: &Request) -> Result<Response, Problem> {
///     let Some(page) = request.below("/visits").filter(|page| !page.is_empty()) else {
///         return Err(Problem::new(404, "which page?"));
///     };
///     match request.method.as_str() {
///         "GET" => {
///             let visits = cache::get(&format!("visits:{page}"))?.unwrap_or_else(|| b"0".to_vec());
///             Ok(Response::new(200).with_body(visits))
///         }
///         "POST" => {
///             cache::add(&format!("visits:{page}"), 1)?;
///             Ok(Response::new(204))
///         }
///         _ => Err(Problem::new(405, "GET or POST")),
///     }
/// }
///
/// sandbar_sdk::service!(serve);
/// ```
///
/// A plugin may have a handler beside it.
#[macro_export]
macro_rules! service {
    ($serve:expr) => {
        const _: () = {
            #[allow(dead_code, reason = "only WebAssembly exports it")]
            struct Component;

            #[allow(dead_code, reason = "only WebAssembly exports it")]
            impl $crate::http::bindings::exports::wasi::http::incoming_handler::Guest for Component {
                fn handle(
                    request: $crate::http::bindings::wasi::http::types::IncomingRequest,
                    answer: $crate::http::bindings::wasi::http::types::ResponseOutparam,
                ) {
                    $crate::http::service::answer(&request, answer, $serve);
                }
            }

            #[cfg(target_arch = "wasm32")]
    $crate::http::bindings::export!(Component with_types_in $crate::http::bindings);
        };
    };
}

/// Why a request is not answered as it was meant, and what is announced in its place.
///
/// Every error type becomes a problem with `?`: an [`Error`] of the store that may pass by itself is a 503, all other
/// errors are a 500, whose text is logged and not sent to the client. (As with `Failure`, `Problem` is therefore not
/// an error type itself.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The status, 400 to 599.
    pub status: u16,
    /// The answer, in plain text.
    pub text: String,
}

impl Problem {
    /// A status with the text of the answer.
    pub fn new(status: u16, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    fn internal(text: &str) -> Self {
        log::error(text);
        Self::new(500, "internal error")
    }

    fn unavailable(text: &str) -> Self {
        log::warn(text);
        Self::new(503, "not available at the moment")
    }
}

impl<E: StdError + 'static> From<E> for Problem {
    fn from(error: E) -> Self {
        match (&error as &dyn Any).downcast_ref::<Error>() {
            Some(store) if store.is_transient() => Self::unavailable(&store.to_string()),
            _ => Self::internal(&error.to_string()),
        }
    }
}

/// Functions that a handler of events shares with a service fail as handlers do.
impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Reject(reason) => Self::new(400, reason),
            Failure::Retry(_) => Self::unavailable("a retry was asked for"),
        }
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Self {
        let response = Self::text(problem.status, problem.text);
        if problem.status == 503 { response.with_header("retry-after", "1") } else { response }
    }
}

/// Answers one request.
pub fn answer(
    request: &IncomingRequest,
    answer: ResponseOutparam,
    serve: impl Fn(&Request) -> Result<Response, Problem>,
) {
    let request = match read(request) {
        Ok(request) => request,
        Err(text) => return ResponseOutparam::set(answer, Err(ErrorCode::InternalError(Some(text)))),
    };
    let response = serve(&request).unwrap_or_else(|problem| {
        // Nothing of the call is committed then; if it cannot be forgotten, the host is at fault.
        match transaction::discard() {
            Ok(()) => problem.into(),
            Err(error) => Problem::internal(&error.to_string()).into(),
        }
    });
    respond(response, answer);
}

fn read(request: &IncomingRequest) -> Result<Request, String> {
    let target = request.path_with_query().unwrap_or_default();
    let (path, query) = target.split_once('?').map_or((target.as_str(), None), |(path, query)| (path, Some(query)));
    Ok(Request {
        method: method(request.method()),
        path: path.to_owned(),
        query: query.map(str::to_owned),
        headers: request.headers().entries(),
        body: stream::read(request.consume().map_err(|()| "the request has no body".to_owned())?)?,
    })
}

fn respond(response: Response, answer: ResponseOutparam) {
    let Response { status, mut headers, body } = response;
    if !body.is_empty() && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
        headers.push(("content-length".to_owned(), body.len().to_string().into_bytes()));
    }
    let refuse = |text: String| Err(ErrorCode::InternalError(Some(text)));
    let fields = match Fields::from_list(&headers) {
        Ok(fields) => fields,
        Err(error) => return ResponseOutparam::set(answer, refuse(format!("a header of the answer: {error}"))),
    };
    let outgoing = OutgoingResponse::new(fields);
    if outgoing.set_status_code(status).is_err() {
        return ResponseOutparam::set(answer, refuse(format!("{status} is no status")));
    }
    if body.is_empty() {
        return ResponseOutparam::set(answer, Ok(outgoing));
    }
    let Ok(sink) = outgoing.body() else {
        return ResponseOutparam::set(answer, refuse("the answer has no body".to_owned()));
    };
    ResponseOutparam::set(answer, Ok(outgoing));
    // A client that no longer reads cannot be answered.
    stream::write(sink, &body);
}

fn method(method: Method) -> String {
    let name = match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(name) => return name,
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_a_shared_function_is_the_senders_or_passes() {
        assert_eq!(Problem::from(Failure::reject("data: missing field")), Problem::new(400, "data: missing field"));
        let response = Response::from(Problem::new(503, "later"));
        assert_eq!((response.status, response.header("retry-after")), (503, Some("1")));
        assert_eq!(Response::from(Problem::new(404, "no")).header("retry-after"), None);
    }
}
