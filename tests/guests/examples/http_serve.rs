//! Answers requests below `/t`, by the path, and counts events of a stream beside that: one plugin with two kinds of
//! triggers.
//!
//! Grants: everything.
#![allow(clippy::panic, reason = "one of its answers is a trap")]

use sandbar_sdk::http::{Problem, Request, Response};
use sandbar_sdk::prelude::*;

sandbar_sdk::service!(serve);
sandbar_sdk::handler!(|_: &Event| Ok(cache::add("handled", 1)?));

fn serve(request: &Request) -> Result<Response, Problem> {
    let key = request.parameter("key").unwrap_or("k");
    let Some(path) = request.below("/t") else { return Err(Problem::new(404, "not below the route")) };
    match (request.method.as_str(), path) {
        (_, "echo") => {
            let (method, query) = (&request.method, request.query.as_deref().unwrap_or("-"));
            let text = format!("{method} {} {query} {} ", request.path, request.header("x-a").unwrap_or("-"));
            Ok(Response::new(200).with_header("x-b", "b").with_body([text.as_bytes(), &request.body].concat()))
        }
        ("GET" | "HEAD", "plain") => Ok(Response::text(200, "plain")),
        ("GET", "read") => match cache::get(key)? {
            Some(value) => Ok(Response::new(200).with_body(value)),
            None => Err(Problem::new(404, "no such key")),
        },
        ("POST", "set") => {
            cache::set(key, &request.body, Expiry::Never)?;
            Ok(Response::new(201))
        }
        ("POST", "problem") => {
            cache::set(key, &request.body, Expiry::Never)?;
            Err(Problem::new(409, "not like this"))
        }
        ("POST", "trap") => {
            cache::set(key, &request.body, Expiry::Never)?;
            panic!("on purpose")
        }
        ("POST", "push") => {
            collections::list_push(key, End::Back, &[&request.body], None)?;
            Ok(Response::new(201))
        }
        ("POST", "push-and-add") => {
            collections::list_push("list", End::Back, &["x"], None)?;
            cache::add("list", 1)?;
            Ok(Response::new(200))
        }
        ("POST", "conflict") => {
            cache::get_for_update(key)?;
            cache::increment(key, 1)?;
            cache::set("after", "x", Expiry::Never)?;
            Ok(Response::new(200))
        }
        ("POST", "json") => {
            let number: u32 = request.json()?;
            Response::json(200, &(number + 1))
        }
        ("GET", "spin") => loop {
            std::hint::spin_loop();
        },
        ("GET", "size") => {
            let size = key.parse::<usize>()?;
            Ok(Response::new(200).with_body(vec![b'x'; size]))
        }
        _ => Err(Problem::new(404, "no such path")),
    }
}
