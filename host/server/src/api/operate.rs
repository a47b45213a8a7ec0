//! Queues, locks, schedules, hosts, and who asks.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Json, Path, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Api;
use super::answer::{ApiError, Asked};
use super::guard::Visit;
use crate::admin::locks::{Held, Locks};
use crate::admin::queues::{Queues, State as QueueState, Switched};
use crate::admin::schedules;
use sandbar_core::manifest::Manifest;

/// How many queues are counted in one answer.
const QUEUES_MAX: usize = 1000;
/// How many runs of a schedule are told at most.
const RUNS_MAX: u32 = 100;

pub(super) async fn whoami(Extension(visit): Extension<Visit>) -> Json<Value> {
    let caller = &visit.caller;
    Json(json!({ "id": caller.id, "name": caller.name, "tenant": caller.scope, "role": caller.role }))
}

pub(super) async fn nodes(
    State(api): State<Arc<Api>>,
    Extension(visit): Extension<Visit>,
) -> Result<Json<Value>, ApiError> {
    let nodes = api.fleet.nodes().await?;
    // What a host cannot run names the plugins of all tenants.
    let told = nodes.into_iter().map(|node| match visit.is_host_wide() {
        true => json!(node),
        false => json!({ "host": node.host, "alive": node.alive, "seen_ms": node.seen_ms, "program": node.program }),
    });
    Ok(Json(json!({ "nodes": told.collect::<Vec<_>>() })))
}

fn queues_of(api: &Api, visit: &Visit) -> Result<Queues, ApiError> {
    Ok(Queues::of(api.store.clone(), &visit.tenant()?.prefix))
}

pub(super) async fn queues(
    State(api): State<Arc<Api>>,
    Extension(visit): Extension<Visit>,
) -> Result<Json<Value>, ApiError> {
    let queues = queues_of(&api, &visit)?;
    let names = queues.names().await?;
    let is_cut = names.len() > QUEUES_MAX;
    let mut states = Vec::new();
    for name in names.iter().take(QUEUES_MAX) {
        states.push(queues.state(name).await?);
    }
    Ok(Json(json!({ "queues": states, "more": is_cut })))
}

pub(super) async fn queue(
    State(api): State<Arc<Api>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
) -> Result<Json<QueueState>, ApiError> {
    Ok(Json(queues_of(&api, &visit)?.state(&name).await?))
}

pub(super) async fn pause(
    State(api): State<Arc<Api>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
) -> Result<Json<Switched>, ApiError> {
    Ok(Json(queues_of(&api, &visit)?.switch(&name, true).await?))
}

pub(super) async fn resume(
    State(api): State<Arc<Api>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
) -> Result<Json<Switched>, ApiError> {
    Ok(Json(queues_of(&api, &visit)?.switch(&name, false).await?))
}

#[derive(Debug, Deserialize)]
pub(super) struct Matching {
    #[serde(rename = "match")]
    pattern: Option<String>,
}

fn locks_of(api: &Api, visit: &Visit) -> Result<Locks, ApiError> {
    Ok(Locks::of(api.store.clone(), &visit.tenant()?.prefix))
}

pub(super) async fn locks(
    State(api): State<Arc<Api>>,
    Extension(visit): Extension<Visit>,
    Asked(Matching { pattern }): Asked<Matching>,
) -> Result<Json<Value>, ApiError> {
    let held = locks_of(&api, &visit)?.list(pattern.as_deref()).await?;
    Ok(Json(json!({ "locks": held })))
}

pub(super) async fn break_lock(
    State(api): State<Arc<Api>>,
    Extension(visit): Extension<Visit>,
    Path(key): Path<String>,
) -> Result<Json<Held>, ApiError> {
    Ok(Json(locks_of(&api, &visit)?.break_open(&key).await?))
}

#[derive(Debug, Deserialize)]
pub(super) struct Due {
    plugin: Option<String>,
    runs: Option<u32>,
}

pub(super) async fn schedules(
    State(api): State<Arc<Api>>,
    Extension(visit): Extension<Visit>,
    Asked(Due { plugin, runs }): Asked<Due>,
) -> Result<Json<Value>, ApiError> {
    let (place, runs) = (visit.tenant()?, runs.unwrap_or(5));
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
    Ok(Json(json!({ "schedules": found })))
}
