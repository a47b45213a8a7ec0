//! Sends requests and checks the answers.
//!
//! Fields: `do`, one of the words below; `at`, the host and port of the test's server. Limits: `http-request-bytes` and
//! `http-response-bytes` of 64 KiB, `http-requests` of 2. Grants: write `passed`, HTTP as the test says.

use sandbar_sdk::http::bindings::wasi::http::outgoing_handler;
use sandbar_sdk::http::bindings::wasi::http::types::{ErrorCode, Fields, OutgoingRequest, Scheme};
use sandbar_sdk::http::{Outgoing, send};
use sandbar_sdk::prelude::*;
use sandbar_test_guests::{check, check_eq, check_error, pass, unknown};

/// A little more than a body may have.
const TOO_MANY: usize = 64 * 1024 + 1;

sandbar_sdk::handler!(|event: &Event| pass(event, checks));

fn checks(event: &Event) -> Result<(), Failure> {
    let url = |path: &str| event.text("at").map(|at| format!("http://{at}{path}"));
    let quick = |path: &str| url(path).map(|url| Outgoing::get(url).with_timeout(Duration::from_millis(300)));
    match event.text("do")? {
        "answer" => {
            let answer = send(&Outgoing::get(url("/hello?a=1")?).with_header("x-asked", "yes"))?;
            check_eq!((answer.status, answer.header("x-target")), (200, Some("/hello?a=1")));
            check_eq!(answer.header("x-asked"), Some("yes"));
            check_eq!(answer.header("x-host"), Some(event.text("at")?));
            check_eq!(String::from_utf8_lossy(&answer.body), "hello");
            let answer = send(&Outgoing::post(url("/echo")?, vec![b'x'; 60_000]))?;
            check_eq!((answer.status, answer.body.len()), (200, 60_000));
            check_eq!(send(&Outgoing::get(url("/missing")?))?.status, 404);
        }
        "redirect" => {
            let answer = send(&Outgoing::get(url("/redirect")?))?;
            check_eq!((answer.status, answer.header("location")), (302, Some("/secret")));
        }
        "denied" => {
            check_error!(send(&Outgoing::get(url("/secret")?)), Denied);
            check_error!(send(&Outgoing::get(format!("http://granted@{}/", event.text("at")?))), Denied);
        }
        "silent" => check_error!(send(&quick("/silent")?), TimedOut),
        "no-handshake" => {
            let request = Outgoing::get(format!("https://{}/", event.text("at")?));
            check_error!(send(&request.with_timeout(Duration::from_millis(300))), TimedOut);
        }
        "stalls" => check_error!(send(&quick("/stalls")?), Unavailable),
        "forever" => drop(send(&Outgoing::get(url("/silent")?))),
        "large" => {
            check_error!(send(&Outgoing::get(url("/large")?)), Limit);
            check_error!(send(&Outgoing::get(url("/endless")?)), Limit);
            check_error!(send(&Outgoing::get(url("/headers")?)), Limit);
            // The answer to it would be small.
            check_error!(send(&Outgoing::post(url("/hello")?, vec![b'x'; TOO_MANY])), Limit);
        }
        "many" => many(event.text("at")?)?,
        "invalid" => {
            check_error!(send(&Outgoing::new("CONNECT", url("/")?)), Invalid);
            check_error!(send(&Outgoing::get("ftp://example.com/")), Invalid);
            check_error!(send(&Outgoing::get(url("/")?).with_header("host", "elsewhere")), Invalid);
        }
        "nobody" => check_error!(send(&Outgoing::get(url("/")?)), Unavailable),
        "tls" => {
            let answer = send(&Outgoing::get(format!("https://{}/hello", event.text("at")?)));
            let answer = answer.map_err(|error| Failure::reject(error.to_string()))?;
            check_eq!((answer.status, String::from_utf8_lossy(&answer.body).as_ref()), (200, "hello"));
        }
        "distrust" => {
            check_error!(send(&Outgoing::get(format!("https://{}/hello", event.text("at")?))), Unavailable);
        }
        other => return Err(unknown(other)),
    }
    Ok(())
}

/// Two requests may be under way, a third not, and one more when they are over.
fn many(at: &str) -> Result<(), Failure> {
    let begin = || {
        let request = OutgoingRequest::new(Fields::new());
        let set = request.set_scheme(Some(&Scheme::Http)).and_then(|()| request.set_authority(Some(at)));
        set.and_then(|()| request.set_path_with_query(Some("/silent"))).map_err(|()| Failure::reject("a request"))?;
        outgoing_handler::handle(request, None).map_err(|code| Failure::reject(format!("{code:?}")))
    };
    let (first, second, third) = (begin()?, begin()?, begin()?);
    third.subscribe().block();
    check!(matches!(third.get(), Some(Ok(Err(ErrorCode::ConnectionLimitReached)))));
    drop((first, second));
    check_eq!(send(&Outgoing::get(format!("http://{at}/hello")))?.status, 200);
    Ok(())
}
