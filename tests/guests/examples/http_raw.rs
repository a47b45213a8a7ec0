//! Answers requests below `/t` with the streams of `wasi:http`, by the path: in parts, too late, not at all.
//!
//! Grants: everything.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code, reason = "only WebAssembly exports it"))]
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a guest of tests, whose traps are caught")]

use sandbar_sdk::http::bindings::exports::wasi::http::incoming_handler::Guest;
use sandbar_sdk::http::bindings::wasi::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use sandbar_sdk::http::bindings::wasi::io::streams::OutputStream;
use sandbar_sdk::prelude::*;

struct Raw;

// Elsewhere the names of WebAssembly's exports are not names of symbols.
#[cfg(target_arch = "wasm32")]
sandbar_sdk::http::bindings::export!(Raw with_types_in sandbar_sdk::http::bindings);

impl Guest for Raw {
    fn handle(request: IncomingRequest, place: ResponseOutparam) {
        let path = request.path_with_query().unwrap();
        match path.as_str() {
            // Each part of the request goes back as it comes.
            "/t/parts" => {
                let (body, out) = answer(place, None);
                write(&out, b"begin,");
                let incoming = request.consume().unwrap();
                let stream = incoming.stream().unwrap();
                while let Ok(part) = stream.blocking_read(1024) {
                    write(&out, &part);
                }
                drop(stream);
                drop(IncomingBody::finish(incoming));
                drop(out);
                OutgoingBody::finish(body, None).unwrap();
            }
            // Writes after the answer.
            "/t/late" | "/t/late-trap" | "/t/late-unknown-length" | "/t/late-trap-unknown-length" => {
                cache::set("early", "x", Expiry::Never).unwrap();
                let (body, out) = answer(place, (!path.ends_with("unknown-length")).then_some("4"));
                write(&out, b"late");
                drop(out);
                OutgoingBody::finish(body, None).unwrap();
                cache::set("late", "x", Expiry::Never).unwrap();
                assert!(!path.starts_with("/t/late-trap"), "on purpose");
            }
            // The head is all of the answer, and a write comes after it.
            "/t/late-head" => {
                ResponseOutparam::set(place, Ok(OutgoingResponse::new(Fields::new())));
                collections::list_push("list", End::Back, &["x"], None).unwrap();
                cache::add("list", 1).unwrap();
            }
            "/t/unanswered" => {
                cache::set("k", "x", Expiry::Never).unwrap();
                drop(place);
            }
            "/t/error" => {
                cache::set("k", "x", Expiry::Never).unwrap();
                ResponseOutparam::set(place, Err(ErrorCode::InternalError(Some("on purpose".to_owned()))));
                cache::set("k", "y", Expiry::Never).unwrap();
            }
            "/t/status" => {
                cache::set("k", "x", Expiry::Never).unwrap();
                let response = OutgoingResponse::new(Fields::new());
                response.set_status_code(103).unwrap();
                ResponseOutparam::set(place, Ok(response));
            }
            // Keeps the body of its answer, and so never ends it; and keeps the request.
            "/t/unfinished" => {
                let (body, out) = answer(place, None);
                write(&out, b"part");
                std::mem::forget((body, out, request.consume().unwrap()));
            }
            // Answers, and keeps the body of the request unread.
            "/t/keep" => {
                std::mem::forget(request.consume().unwrap());
                ResponseOutparam::set(place, Ok(OutgoingResponse::new(Fields::new())));
            }
            "/t/endless" => {
                let (_body, out) = answer(place, None);
                while out.check_write().is_ok() {
                    out.subscribe().block();
                    if out.check_write().unwrap_or(0) > 0 && out.write(&[b'x'; 1000]).is_err() {
                        break;
                    }
                }
            }
            // Announces that it has begun, and waits for the end of the request's body.
            "/t/wait" => {
                cache::add("begun", 1).unwrap();
                transaction::commit().unwrap();
                cache::add("read", 1).unwrap();
                let incoming = request.consume().unwrap();
                let stream = incoming.stream().unwrap();
                while stream.blocking_read(1024).is_ok() {}
                drop(stream);
                drop(IncomingBody::finish(incoming));
                ResponseOutparam::set(place, Ok(OutgoingResponse::new(Fields::new())));
            }
            other => panic!("{other}"),
        }
    }
}

/// Answers 200 with a body to be written.
fn answer(place: ResponseOutparam, length: Option<&str>) -> (OutgoingBody, OutputStream) {
    let fields = Fields::new();
    if let Some(length) = length {
        fields.append("content-length", length.as_bytes()).unwrap();
    }
    let response = OutgoingResponse::new(fields);
    let body = response.body().unwrap();
    let out = body.write().unwrap();
    ResponseOutparam::set(place, Ok(response));
    (body, out)
}

fn write(out: &OutputStream, bytes: &[u8]) {
    out.blocking_write_and_flush(bytes).unwrap();
}
