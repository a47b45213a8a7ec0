//! Queues, locks, schedules, hosts, and the caller.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Json, Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::answer::{ApiError, JsonQuery};
use super::guard::AuthorizedRequest;
use crate::admin::locks::{LockState, Locks};
use crate::admin::queues::{QueueState, Queues, Switched};
use crate::admin::schedules::{self, Due};
use sandbar_core::manifest::Manifest;
use sandbar_core::token::{Role, Scope, TokenId};
use sandbar_fleet::Node;
use sandbar_fleet::authenticator::Caller;

/// How many queues are counted in one answer.
const QUEUES_MAX: usize = 1000;
/// The most runs of a schedule in one answer.
const RUNS_MAX: u32 = 100;

/// What a token is good for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Whoami {
    /// The token's id.
    #[schema(value_type = String)]
    id: TokenId,
    /// What the token is for, in the words of its maker.
    name: String,
    /// Its tenant; `*` for all tenants.
    #[schema(value_type = String)]
    tenant: Scope,
    /// `read`, `operate` or `deploy`.
    #[schema(value_type = String)]
    role: Role,
}

/// What the token is good for
#[utoipa::path(get, path = "/whoami", responses((status = 200, description = "The token", body = Whoami)))]
pub(super) async fn whoami(Extension(authorized): Extension<AuthorizedRequest>) -> Json<Whoami> {
    let Caller { id, name, scope, role } = authorized.caller;
    Json(Whoami { id, name, tenant: scope, role })
}

/// The hosts of a fleet.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Nodes {
    nodes: Vec<ShownNode>,
}

/// A host: all of it to tokens for all tenants. What it cannot run names the plugins of all tenants, so a tenant's
/// token sees less.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum ShownNode {
    /// All of it.
    Whole(Node),
    /// Only that it is there.
    Outside(OutsideOfNode),
}

/// What a tenant's token sees of a host.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OutsideOfNode {
    /// Its id.
    host: String,
    /// Whether it has sent a heartbeat lately.
    alive: bool,
    /// The time of its last heartbeat, in milliseconds since 1970.
    seen_ms: u64,
    /// The version of the program.
    program: String,
}

/// The hosts of the fleet; the whole of them only to tokens for all tenants
#[utoipa::path(get, path = "/nodes", responses((status = 200, description = "The hosts", body = Nodes)))]
pub(super) async fn nodes(
    State(api): State<Arc<Api>>,
    Extension(authorized): Extension<AuthorizedRequest>,
) -> Result<Json<Nodes>, ApiError> {
    let shown = |node: Node| match authorized.is_host_wide() {
        true => ShownNode::Whole(node),
        false => {
            let Node { host, alive, seen_ms, program, .. } = node;
            ShownNode::Outside(OutsideOfNode { host, alive, seen_ms, program })
        }
    };
    Ok(Json(Nodes { nodes: api.fleet.nodes().await?.into_iter().map(shown).collect() }))
}

fn queues_of(api: &Api, authorized: &AuthorizedRequest) -> Result<Queues, ApiError> {
    Ok(Queues::of(api.store.clone(), &authorized.tenant()?.prefix))
}

/// The queues of a tenant.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QueueList {
    queues: Vec<QueueState>,
    /// There are more than these.
    more: bool,
}

/// The queues that jobs were ever taken from, and those that are paused
#[utoipa::path(get, path = "/queues", responses((status = 200, description = "The queues", body = QueueList)))]
pub(super) async fn queues(
    State(api): State<Arc<Api>>,
    Extension(authorized): Extension<AuthorizedRequest>,
) -> Result<Json<QueueList>, ApiError> {
    let queues = queues_of(&api, &authorized)?;
    let names = queues.names().await?;
    let mut states = Vec::new();
    for name in names.iter().take(QUEUES_MAX) {
        states.push(queues.state(name).await?);
    }
    Ok(Json(QueueList { queues: states, more: names.len() > QUEUES_MAX }))
}

/// How many jobs a queue has, by state
#[utoipa::path(
    get,
    path = "/queues/{name}",
    params(("name" = String, Path, description = "The queue")),
    responses((status = 200, description = "The queue", body = QueueState))
)]
pub(super) async fn queue(
    State(api): State<Arc<Api>>,
    Extension(authorized): Extension<AuthorizedRequest>,
    Path(name): Path<String>,
) -> Result<Json<QueueState>, ApiError> {
    Ok(Json(queues_of(&api, &authorized)?.state(&name).await?))
}

/// Pauses a queue: no host takes jobs from it; jobs that are taken are finished
#[utoipa::path(
    post,
    path = "/queues/{name}/pause",
    params(("name" = String, Path, description = "The queue")),
    responses((status = 200, description = "The queue", body = Switched))
)]
pub(super) async fn pause(
    State(api): State<Arc<Api>>,
    Extension(authorized): Extension<AuthorizedRequest>,
    Path(name): Path<String>,
) -> Result<Json<Switched>, ApiError> {
    Ok(Json(queues_of(&api, &authorized)?.switch(&name, true).await?))
}

/// Resumes a queue
#[utoipa::path(
    post,
    path = "/queues/{name}/resume",
    params(("name" = String, Path, description = "The queue")),
    responses((status = 200, description = "The queue", body = Switched))
)]
pub(super) async fn resume(
    State(api): State<Arc<Api>>,
    Extension(authorized): Extension<AuthorizedRequest>,
    Path(name): Path<String>,
) -> Result<Json<Switched>, ApiError> {
    Ok(Json(queues_of(&api, &authorized)?.switch(&name, false).await?))
}

/// Which locks are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Matching {
    /// Also keys that match this pattern, whichever client set them, such as `lock:*`
    #[serde(rename = "match")]
    pattern: Option<String>,
}

/// The locks of a tenant.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LockList {
    locks: Vec<LockState>,
}

fn locks_of(api: &Api, authorized: &AuthorizedRequest) -> Result<Locks, ApiError> {
    Ok(Locks::of(api.store.clone(), &authorized.tenant()?.prefix))
}

/// The locks that are held
#[utoipa::path(
    get,
    path = "/locks",
    params(Matching),
    responses((status = 200, description = "The locks", body = LockList))
)]
pub(super) async fn locks(
    State(api): State<Arc<Api>>,
    Extension(authorized): Extension<AuthorizedRequest>,
    JsonQuery(Matching { pattern }): JsonQuery<Matching>,
) -> Result<Json<LockList>, ApiError> {
    Ok(Json(LockList { locks: locks_of(&api, &authorized)?.list(pattern.as_deref()).await? }))
}

/// Takes a lock from its holder; the first waiter gets it
#[utoipa::path(
    post,
    path = "/locks/{key}/break",
    params(("key" = String, Path, description = "The key of the lock")),
    responses((status = 200, description = "The lock as it was", body = LockState))
)]
pub(super) async fn break_lock(
    State(api): State<Arc<Api>>,
    Extension(authorized): Extension<AuthorizedRequest>,
    Path(key): Path<String>,
) -> Result<Json<LockState>, ApiError> {
    Ok(Json(locks_of(&api, &authorized)?.break_open(&key).await?))
}

/// Which schedules are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ScheduleQuery {
    /// Only those of this plugin
    plugin: Option<String>,
    /// How many of the last runs of each, 0 to 100; 5 by default
    runs: Option<u32>,
}

/// The schedules of a tenant on this host.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ScheduleList {
    schedules: Vec<Due>,
}

/// When the schedules of the plugins run next, and how the last runs ended
#[utoipa::path(
    get,
    path = "/schedules",
    params(ScheduleQuery),
    responses((status = 200, description = "The schedules", body = ScheduleList))
)]
pub(super) async fn schedules(
    State(api): State<Arc<Api>>,
    Extension(authorized): Extension<AuthorizedRequest>,
    JsonQuery(ScheduleQuery { plugin, runs }): JsonQuery<ScheduleQuery>,
) -> Result<Json<ScheduleList>, ApiError> {
    let (place, runs) = (authorized.tenant()?, runs.unwrap_or(5));
    if runs > RUNS_MAX {
        return Err(ApiError::bad(format_args!("`runs` is {runs}; 0 to {RUNS_MAX} are allowed")));
    }
    let mut found = Vec::new();
    for status in api.host().plugins() {
        if status.tenant != place.name || plugin.as_ref().is_some_and(|plugin| *plugin != status.name) {
            continue;
        }
        // It was read before, so it can be read again; one that came from memory has no text.
        if let Ok(manifest) = Manifest::parse(&status.release.manifest) {
            found.extend(schedules::of(&*api.store, &place.prefix, &manifest, runs).await?);
        }
    }
    Ok(Json(ScheduleList { schedules: found }))
}
