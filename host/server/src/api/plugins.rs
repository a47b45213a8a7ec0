//! Plugins: what is deployed, what runs, and changing it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::multipart::{Multipart, MultipartError};
use axum::extract::{FromRequest, Json, Path, Request, State};
use axum::http::StatusCode;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Api;
use super::answer::{ApiError, Asked, Told};
use super::guard::Visit;
use crate::host::PluginStatus;
use sandbar_fleet::{Deploy, Deployed, MANIFEST_BYTES_MAX, Record, Release, WAIT_DEFAULT, WAIT_MAX};
use sandbar_runtime::rollout::Trial;

/// The most bytes in the name of a plugin that are looked at.
const NAME_BYTES_MAX: usize = 64;

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(visit): Extension<Visit>,
) -> Result<Json<Value>, ApiError> {
    let tenant = visit.tenant_name();
    let mut plugins: BTreeMap<(String, String), (Option<Record>, Option<PluginStatus>)> = BTreeMap::new();
    for listed in api.fleet.plugins(tenant).await? {
        plugins.entry((listed.tenant, listed.plugin)).or_default().0 = Some(listed.record);
    }
    for status in api.host().plugins() {
        if tenant.is_none_or(|tenant| tenant == status.tenant) {
            let key = (status.tenant.clone(), status.name.clone());
            plugins.entry(key).or_default().1 = Some(status);
        }
    }
    let told = plugins.into_iter().map(|((tenant, plugin), (record, status))| {
        let record = record.as_ref();
        json!({
            "tenant": tenant,
            "plugin": plugin,
            "phase": record.map(|record| record.phase),
            "active": record.and_then(|record| record.active.as_ref()).map(release),
            "candidate": record.and_then(|record| record.candidate.as_ref()).map(|candidate| release(&candidate.release)),
            "here": status.as_ref().map(here),
        })
    });
    Ok(Json(json!({ "plugins": told.collect::<Vec<_>>() })))
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (tenant, name) = (&visit.tenant()?.name, checked(name)?);
    let record = api.fleet.record(tenant, &name).await?;
    let status = api.host().plugins().into_iter().find(|status| status.tenant == *tenant && status.name == name);
    if record.is_none() && status.is_none() {
        return Err(ApiError::missing(format_args!("there is no plugin `{name}`"))
            .help("GET /api/v1/plugins tells those that there are"));
    }
    let active = record.as_ref().and_then(|record| record.active.as_ref());
    let hosts = match &record {
        Some(_) => api.fleet.outcomes(tenant, &name, active.map_or(0, |release| release.number)).await?,
        None => Vec::new(),
    };
    let told = record.as_ref();
    let manifest = active.map(|active| active.manifest.as_str());
    let manifest = manifest.or_else(|| status.as_ref().map(|status| status.release.manifest.as_str()));
    let history = |pasts: &mut dyn Iterator<Item = &sandbar_fleet::Past>| {
        pasts
            .map(|past| json!({ "release": release(&past.release), "ended_ms": past.ended_ms, "why": past.why }))
            .collect::<Vec<_>>()
    };
    Ok(Json(json!({
        "tenant": tenant,
        "plugin": name,
        "phase": told.map(|record| record.phase),
        "active": active.map(release),
        "candidate": told.and_then(|record| record.candidate.as_ref()).map(|candidate| {
            json!({ "release": release(&candidate.release), "trial": candidate.trial })
        }),
        "manifest": manifest,
        "history": told.map(|record| history(&mut record.history.iter())),
        "hosts": hosts,
        "here": status.as_ref().map(|status| {
            let mut told = here(status);
            if let Some(told) = told.as_object_mut() {
                told.insert("trial".to_owned(), trial(status));
                told.insert("history".to_owned(), history(&mut status.history.iter()).into());
            }
            told
        }),
    })))
}

/// A release without its manifest, which may be long.
fn release(release: &Release) -> Value {
    let Release { number, digest, size_bytes, time_ms, by, .. } = release;
    json!({ "number": number, "digest": digest, "size_bytes": size_bytes, "time_ms": time_ms, "by": by })
}

/// What runs on the host that answers.
fn here(status: &PluginStatus) -> Value {
    let numbers = status.metrics.snapshot();
    json!({
        "digest": status.version,
        "number": status.release.number,
        "fault": status.fault,
        "probation": status.rollout.probation(),
        "done": numbers.done,
        "retries": numbers.retries,
        "dead": numbers.dead,
        "failures": numbers.failures,
        "pending": numbers.backlog.pending,
        "lag": numbers.backlog.lag,
    })
}

/// What the host that answers has found of the version that is tried beside the active one.
fn trial(status: &PluginStatus) -> Value {
    let Some((pool, trial, standing)) = status.rollout.trial() else { return Value::Null };
    json!({
        "digest": pool.context().version,
        "trial": trial,
        "standing": standing,
        "shadow": status.rollout.shadow_report(),
    })
}

/// How a version is deployed.
#[derive(Debug, Deserialize)]
pub(super) struct How {
    #[serde(default)]
    shadow: bool,
    canary: Option<u8>,
    wait: Option<String>,
}

pub(super) async fn deploy(
    State(api): State<Arc<Api>>,
    Extension(visit): Extension<Visit>,
    Asked(how): Asked<How>,
    request: Request,
) -> Result<Json<Deployed>, ApiError> {
    let tenant = visit.tenant()?.name.clone();
    let (trial, wait) = (how.trial()?, how.wait()?);
    let _permit = api.uploads.try_acquire().map_err(|_| ApiError::busy("other components are being received"))?;
    let (manifest, component) = receive(request).await?;
    let deploy = Deploy { manifest, component, by: visit.by(), trial, wait };
    Ok(Json(api.fleet.deploy(&tenant, deploy).await?))
}

impl How {
    fn trial(&self) -> Result<Option<Trial>, ApiError> {
        match (self.shadow, self.canary) {
            (false, None) => Ok(None),
            (true, None) => Ok(Some(Trial::Shadow)),
            (false, Some(percent @ 1..=99)) => Ok(Some(Trial::Canary { percent })),
            (false, Some(percent)) => Err(ApiError::bad(format_args!("`canary` is {percent}; 1 to 99 are allowed"))),
            (true, Some(_)) => Err(ApiError::bad("`shadow` and `canary` exclude each other")),
        }
    }

    fn wait(&self) -> Result<Duration, ApiError> {
        let Some(text) = &self.wait else { return Ok(WAIT_DEFAULT) };
        let wait = humantime::parse_duration(text).map_err(|error| ApiError::bad(format_args!("`wait`: {error}")))?;
        if wait > WAIT_MAX {
            return Err(ApiError::bad(format_args!("`wait` is longer than {WAIT_MAX:?}")));
        }
        Ok(wait)
    }
}

/// The two parts of a form.
async fn receive(request: Request) -> Result<(String, Bytes), ApiError> {
    let form = Multipart::from_request(request, &()).await;
    let mut form = form.map_err(|error| {
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error.body_text())
            .help("curl -F manifest=@plugin.toml -F component=@plugin.wasm")
    })?;
    let (mut manifest, mut component) = (None, None);
    while let Some(mut part) = form.next_field().await.map_err(unreadable)? {
        match part.name() {
            Some("manifest") if manifest.is_none() => {
                let mut text = Vec::new();
                while let Some(chunk) = part.chunk().await.map_err(unreadable)? {
                    if text.len() + chunk.len() > MANIFEST_BYTES_MAX {
                        let error = format!("the manifest has more than {MANIFEST_BYTES_MAX} bytes");
                        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, error));
                    }
                    text.extend_from_slice(&chunk);
                }
                manifest = Some(String::from_utf8(text).map_err(|_| ApiError::bad("the manifest is no UTF-8 text"))?);
            }
            Some("component") if component.is_none() => component = Some(part.bytes().await.map_err(unreadable)?),
            other => {
                let name = other.unwrap_or_default().escape_debug().take(NAME_BYTES_MAX).collect::<String>();
                return Err(ApiError::bad(format_args!(
                    "the form has a part `{name}` that is not wanted, or there twice"
                )));
            }
        }
    }
    match (manifest, component) {
        (Some(manifest), Some(component)) => Ok((manifest, component)),
        _ => Err(ApiError::bad("the form needs the parts `manifest` and `component`")
            .help("curl -F manifest=@plugin.toml -F component=@plugin.wasm")),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn unreadable(error: MultipartError) -> ApiError {
    let status = error.status();
    let status = if status.is_client_error() { status } else { StatusCode::BAD_REQUEST };
    ApiError::new(status, error.body_text())
}

/// Where to go back to, and why.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Back {
    to: Option<String>,
    reason: String,
}

pub(super) async fn rollback(
    State(api): State<Arc<Api>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
    Told(back): Told<Back>,
) -> Result<Json<Value>, ApiError> {
    let (tenant, name) = (&visit.tenant()?.name, checked(name)?);
    let record = api.fleet.rollback(tenant, &name, back.to.as_deref(), &visit.by(), &back.reason).await?;
    Ok(changed(&record))
}

pub(super) async fn promote(
    State(api): State<Arc<Api>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(changed(&api.fleet.promote(&visit.tenant()?.name, &checked(name)?).await?))
}

/// Why.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Reason {
    reason: String,
}

pub(super) async fn end_trial(
    State(api): State<Arc<Api>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
    Told(Reason { reason }): Told<Reason>,
) -> Result<Json<Value>, ApiError> {
    Ok(changed(&api.fleet.end_trial(&visit.tenant()?.name, &checked(name)?, &visit.by(), &reason).await?))
}

pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(changed(&api.fleet.remove(&visit.tenant()?.name, &checked(name)?, &visit.by()).await?))
}

fn changed(record: &Record) -> Json<Value> {
    Json(json!({
        "generation": record.generation,
        "phase": record.phase,
        "active": record.active.as_ref().map(release),
        "candidate": record.candidate.as_ref().map(|candidate| release(&candidate.release)),
    }))
}

/// A name that a plugin can have.
fn checked(name: String) -> Result<String, ApiError> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && is_plain {
        return Ok(name);
    }
    Err(ApiError::missing("there is no such plugin"))
}
