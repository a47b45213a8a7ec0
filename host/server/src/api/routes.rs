//! The one list of routes.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post};

use super::guard::{self, Needs};
use super::{Api, dead, openapi, operate, plugins};
use sandbar_core::token::Role;
use sandbar_fleet::{MANIFEST_BYTES_MAX, WAIT_MAX};
use sandbar_runtime::plugin::COMPONENT_BYTES_MAX;

/// The most bytes in a body of JSON.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// The most bytes in the body of a deploy: a component, a manifest, and what is around them.
const DEPLOY_BYTES_MAX: usize = COMPONENT_BYTES_MAX + MANIFEST_BYTES_MAX + 64 * 1024;
/// How long a request may take.
const TIME: Duration = Duration::from_secs(30);
/// How long a deploy may take: as long as hosts may, and five minutes for the component to arrive.
const DEPLOY_TIME: Duration = Duration::from_secs(WAIT_MAX.as_secs() + 300);

/// What a request has in its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    None,
    /// JSON, an object with these members, each with its type and what it is.
    Json(&'static [(&'static str, &'static str, &'static str)]),
    /// A form with files (`multipart/form-data`), likewise.
    Form(&'static [(&'static str, &'static str, &'static str)]),
}

/// One route of the API.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Its method.
    pub method: &'static str,
    /// Its path below [`super::BASE`], with `{name}` for parameters.
    pub path: &'static str,
    /// What a token must be good for.
    pub role: Role,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// What may be in the query beside `tenant`, each with its type and what it is.
    pub query: &'static [(&'static str, &'static str, &'static str)],
    /// What is in the body.
    pub body: Body,
    handler: fn() -> MethodRouter<Arc<Api>>,
}

const STREAM: (&str, &str, &str) = ("stream", "string", "The stream that events came from; this or `queue`");
const QUEUE: (&str, &str, &str) = ("queue", "string", "The queue that jobs came from; this or `stream`");
const WHERE: &[(&str, &str, &str)] = &[STREAM, QUEUE];
const SETTLE: Body = Body::Json(&[
    STREAM,
    QUEUE,
    ("ids", "array", "The letters; up to 1000. This or `all`"),
    ("all", "boolean", "All that are there now; up to 10000 at a time, the oldest first"),
]);
const WHY: Body = Body::Json(&[("reason", "string", "What is kept beside it; nothing by default")]);

/// All routes.
pub const ROUTES: &[Route] = &[
    Route {
        method: "GET",
        path: "/whoami",
        role: Role::Read,
        summary: "What the token is good for",
        query: &[],
        body: Body::None,
        handler: || get(operate::whoami),
    },
    Route {
        method: "GET",
        path: "/openapi.json",
        role: Role::Read,
        summary: "This document",
        query: &[],
        body: Body::None,
        handler: || get(openapi::answer),
    },
    Route {
        method: "GET",
        path: "/plugins",
        role: Role::Read,
        summary: "The plugins: what is deployed, and what runs on the host that answers",
        query: &[],
        body: Body::None,
        handler: || get(plugins::list),
    },
    Route {
        method: "POST",
        path: "/plugins",
        role: Role::Deploy,
        summary: "Has all hosts of the fleet run a version, and waits until they do",
        query: &[
            ("shadow", "boolean", "Try it first: it gets the same batches, and nothing of what it writes is kept"),
            ("canary", "integer", "Try it first on this share of the calls, of a hundred, 1 to 99"),
            ("wait", "string", "How long hosts may take to load it, such as `30s`, the default; at most 10m"),
        ],
        body: Body::Form(&[
            ("manifest", "string", "The text of the plugin.toml"),
            ("component", "binary", "The component"),
        ]),
        handler: || post(plugins::deploy),
    },
    Route {
        method: "GET",
        path: "/plugins/{name}",
        role: Role::Read,
        summary: "One plugin: its versions, its history, its trial, and what each host makes of it",
        query: &[],
        body: Body::None,
        handler: || get(plugins::show),
    },
    Route {
        method: "DELETE",
        path: "/plugins/{name}",
        role: Role::Deploy,
        summary: "Takes a plugin away from all hosts; those that have it in a folder run that version then",
        query: &[],
        body: Body::None,
        handler: || delete(plugins::remove),
    },
    Route {
        method: "POST",
        path: "/plugins/{name}/rollback",
        role: Role::Operate,
        summary: "Goes back to an earlier version: the one before, or the one whose digest begins so",
        query: &[],
        body: Body::Json(&[
            ("to", "string", "The beginning of a digest in the history; the version before by default"),
            ("reason", "string", "What is kept beside it; nothing by default"),
        ]),
        handler: || post(plugins::rollback),
    },
    Route {
        method: "POST",
        path: "/plugins/{name}/promote",
        role: Role::Deploy,
        summary: "Makes the version active that is tried",
        query: &[],
        body: Body::None,
        handler: || post(plugins::promote),
    },
    Route {
        method: "DELETE",
        path: "/plugins/{name}/trial",
        role: Role::Operate,
        summary: "Ends the trial of a version, or calls its deploy off",
        query: &[],
        body: WHY,
        handler: || delete(plugins::end_trial),
    },
    Route {
        method: "GET",
        path: "/nodes",
        role: Role::Read,
        summary: "The hosts of the fleet; of their insides only to tokens for all tenants",
        query: &[],
        body: Body::None,
        handler: || get(operate::nodes),
    },
    Route {
        method: "GET",
        path: "/dead",
        role: Role::Read,
        summary: "Dead letters, the newest first",
        query: &[
            STREAM,
            QUEUE,
            ("before", "string", "Only those before this id: the `next` of the page before"),
            ("limit", "integer", "How many at most, 1 to 100; 100 by default"),
        ],
        body: Body::None,
        handler: || get(dead::list),
    },
    Route {
        method: "GET",
        path: "/dead/{id}",
        role: Role::Read,
        summary: "One dead letter",
        query: WHERE,
        body: Body::None,
        handler: || get(dead::show),
    },
    Route {
        method: "POST",
        path: "/dead/retry",
        role: Role::Operate,
        summary: "Sends events back to where they came from, and removes their letters",
        query: &[],
        body: SETTLE,
        handler: || post(dead::retry),
    },
    Route {
        method: "POST",
        path: "/dead/drop",
        role: Role::Operate,
        summary: "Removes dead letters for good",
        query: &[],
        body: SETTLE,
        handler: || post(dead::drop),
    },
    Route {
        method: "GET",
        path: "/queues",
        role: Role::Read,
        summary: "The queues that something was ever taken from, and those that are paused",
        query: &[],
        body: Body::None,
        handler: || get(operate::queues),
    },
    Route {
        method: "GET",
        path: "/queues/{name}",
        role: Role::Read,
        summary: "How many jobs a queue has, by state",
        query: &[],
        body: Body::None,
        handler: || get(operate::queue),
    },
    Route {
        method: "POST",
        path: "/queues/{name}/pause",
        role: Role::Operate,
        summary: "Lets nobody take jobs from a queue; those that are taken are finished",
        query: &[],
        body: Body::None,
        handler: || post(operate::pause),
    },
    Route {
        method: "POST",
        path: "/queues/{name}/resume",
        role: Role::Operate,
        summary: "Lets a queue go on",
        query: &[],
        body: Body::None,
        handler: || post(operate::resume),
    },
    Route {
        method: "GET",
        path: "/locks",
        role: Role::Read,
        summary: "The locks that are held",
        query: &[("match", "string", "Also keys that match this pattern, whoever set them, such as `lock:*`")],
        body: Body::None,
        handler: || get(operate::locks),
    },
    Route {
        method: "POST",
        path: "/locks/{key}/break",
        role: Role::Operate,
        summary: "Takes a lock from whoever holds it; the first who waits for it gets it",
        query: &[],
        body: Body::None,
        handler: || post(operate::break_lock),
    },
    Route {
        method: "GET",
        path: "/schedules",
        role: Role::Read,
        summary: "When the schedules of the plugins run next, and what became of the last runs",
        query: &[
            ("plugin", "string", "Only those of this plugin"),
            ("runs", "integer", "How many of the last runs of each, 0 to 100; 5 by default"),
        ],
        body: Body::None,
        handler: || get(operate::schedules),
    },
];

impl Route {
    /// Its handler, behind the checks and within the bounds.
    pub(super) fn method_router(&self, api: &Arc<Api>) -> MethodRouter<Arc<Api>> {
        let (limit, bytes) = match self.body {
            Body::None | Body::Json(_) => (TIME, BODY_BYTES_MAX),
            Body::Form(_) => (DEPLOY_TIME, DEPLOY_BYTES_MAX),
        };
        let needs = Needs { api: api.clone(), role: self.role, limit };
        (self.handler)().layer(DefaultBodyLimit::max(bytes)).layer(from_fn_with_state(needs, guard::authorize))
    }
}
