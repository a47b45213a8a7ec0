//! Plugins: what is deployed, what runs, and changing it.

mod answers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::multipart::{Multipart, MultipartError};
use axum::extract::{FromRequest, Json, Path, Request, State};
use axum::http::StatusCode;
use bytes::Bytes;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use answers::{
    Changed, Here, HereInDetail, ListedPlugin, PastRelease, PluginList, ShownCandidate, ShownPlugin, ShownRelease,
};

use super::Api;
use super::answer::{ApiError, JsonBody, JsonQuery};
use super::guard::AuthorizedRequest;
use crate::host::PluginStatus;
use sandbar_fleet::{Deploy, Deployed, MANIFEST_BYTES_MAX, Record, WAIT_DEFAULT, WAIT_MAX};
use sandbar_runtime::rollout::Trial;

/// The most bytes in the name of a plugin that are looked at.
const NAME_BYTES_MAX: usize = 64;

/// The plugins: what is deployed, and what runs on the host that answers
#[utoipa::path(get, path = "/plugins", responses((status = 200, description = "The plugins", body = PluginList)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(authorized): Extension<AuthorizedRequest>,
) -> Result<Json<PluginList>, ApiError> {
    let tenant = authorized.tenant_name();
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
    let listed = plugins.into_iter().map(|((tenant, plugin), (record, status))| {
        let changed = record.as_ref().map(Changed::from);
        let phase = changed.as_ref().map(|changed| changed.phase);
        let (active, candidate) = changed.map(|changed| (changed.active, changed.candidate)).unwrap_or_default();
        ListedPlugin { tenant, plugin, phase, active, candidate, here: status.as_ref().map(Here::from) }
    });
    Ok(Json(PluginList { plugins: listed.collect() }))
}

/// One plugin: its versions, its history, its trial, and what each host makes of it
#[utoipa::path(
    get,
    path = "/plugins/{name}",
    params(("name" = String, Path, description = "The plugin")),
    responses((status = 200, description = "The plugin", body = ShownPlugin))
)]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Extension(authorized): Extension<AuthorizedRequest>,
    Path(name): Path<String>,
) -> Result<Json<ShownPlugin>, ApiError> {
    let (tenant, name) = (&authorized.tenant()?.name, checked(name)?);
    let record = api.fleet.record(tenant, &name).await?;
    let status = api.host().plugins().into_iter().find(|status| status.tenant == *tenant && status.name == name);
    if record.is_none() && status.is_none() {
        return Err(ApiError::missing(format_args!("there is no plugin `{name}`"))
            .help("GET /api/v1/plugins lists the plugins"));
    }
    let active = record.as_ref().and_then(|record| record.active.as_ref());
    let hosts = match &record {
        Some(_) => api.fleet.outcomes(tenant, &name, active.map_or(0, |release| release.number)).await?,
        None => Vec::new(),
    };
    let manifest = active.map(|active| &active.manifest);
    let manifest = manifest.or_else(|| status.as_ref().map(|status| &status.release.manifest)).cloned();
    let candidate = record.as_ref().and_then(|record| record.candidate.as_ref());
    Ok(Json(ShownPlugin {
        tenant: tenant.clone(),
        plugin: name,
        phase: record.as_ref().map(|record| record.phase),
        active: active.map(ShownRelease::from),
        candidate: candidate
            .map(|candidate| ShownCandidate { release: (&candidate.release).into(), trial: candidate.trial }),
        manifest,
        history: record.as_ref().map(|record| record.history.iter().map(PastRelease::from).collect()),
        hosts,
        here: status.as_ref().map(HereInDetail::from),
    }))
}

/// How a version is deployed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct How {
    /// Try it first: it gets the same batches, and nothing that it writes is kept
    #[serde(default)]
    #[param(required = false)]
    shadow: bool,
    /// Try it first on this share of the calls, of a hundred, 1 to 99
    canary: Option<u8>,
    /// How long hosts may take to load it, such as `30s`, the default; at most 10m
    wait: Option<String>,
}

/// The two parts of a deploy.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes the form, which is read part by part")]
pub(super) struct DeployForm {
    /// The text of the plugin.toml
    manifest: String,
    /// The component
    #[schema(value_type = String, format = Binary)]
    component: Vec<u8>,
}

/// Has all hosts of the fleet run a version, and waits until they do
#[utoipa::path(
    post,
    path = "/plugins",
    params(How),
    request_body(content = DeployForm, content_type = "multipart/form-data"),
    responses((status = 200, description = "What each host made of it", body = Deployed))
)]
pub(super) async fn deploy(
    State(api): State<Arc<Api>>,
    Extension(authorized): Extension<AuthorizedRequest>,
    JsonQuery(how): JsonQuery<How>,
    request: Request,
) -> Result<Json<Deployed>, ApiError> {
    let tenant = authorized.tenant()?.name.clone();
    let (trial, wait) = (how.trial()?, how.wait()?);
    let _permit = api.uploads.try_acquire().map_err(|_| ApiError::busy("other components are being received"))?;
    let (manifest, component) = receive(request).await?;
    let deploy = Deploy { manifest, component, by: authorized.by(), trial, wait };
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
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Back {
    /// The beginning of a digest in the history; the version before by default
    to: Option<String>,
    /// What is kept beside it; nothing by default
    reason: String,
}

/// Goes back to an earlier version: the one before, or the one whose digest begins so
#[utoipa::path(
    post,
    path = "/plugins/{name}/rollback",
    params(("name" = String, Path, description = "The plugin")),
    request_body = Back,
    responses((status = 200, description = "The plugin", body = Changed))
)]
pub(super) async fn rollback(
    State(api): State<Arc<Api>>,
    Extension(authorized): Extension<AuthorizedRequest>,
    Path(name): Path<String>,
    JsonBody(back): JsonBody<Back>,
) -> Result<Json<Changed>, ApiError> {
    let (tenant, name) = (&authorized.tenant()?.name, checked(name)?);
    let record = api.fleet.rollback(tenant, &name, back.to.as_deref(), &authorized.by(), &back.reason).await?;
    Ok(Json((&record).into()))
}

/// Makes the version active that is tried
#[utoipa::path(
    post,
    path = "/plugins/{name}/promote",
    params(("name" = String, Path, description = "The plugin")),
    responses((status = 200, description = "The plugin", body = Changed))
)]
pub(super) async fn promote(
    State(api): State<Arc<Api>>,
    Extension(authorized): Extension<AuthorizedRequest>,
    Path(name): Path<String>,
) -> Result<Json<Changed>, ApiError> {
    let record = api.fleet.promote(&authorized.tenant()?.name, &checked(name)?).await?;
    Ok(Json((&record).into()))
}

/// Why.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Reason {
    /// What is kept beside it; nothing by default
    reason: String,
}

/// Ends the trial of a version, or cancels its deploy
#[utoipa::path(
    delete,
    path = "/plugins/{name}/trial",
    params(("name" = String, Path, description = "The plugin")),
    request_body = Reason,
    responses((status = 200, description = "The plugin", body = Changed))
)]
pub(super) async fn end_trial(
    State(api): State<Arc<Api>>,
    Extension(authorized): Extension<AuthorizedRequest>,
    Path(name): Path<String>,
    JsonBody(Reason { reason }): JsonBody<Reason>,
) -> Result<Json<Changed>, ApiError> {
    let record = api.fleet.end_trial(&authorized.tenant()?.name, &checked(name)?, &authorized.by(), &reason).await?;
    Ok(Json((&record).into()))
}

/// Removes a plugin from all hosts; hosts that have it in a folder then run that version
#[utoipa::path(
    delete,
    path = "/plugins/{name}",
    params(("name" = String, Path, description = "The plugin")),
    responses((status = 200, description = "The plugin", body = Changed))
)]
pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    Extension(authorized): Extension<AuthorizedRequest>,
    Path(name): Path<String>,
) -> Result<Json<Changed>, ApiError> {
    let record = api.fleet.remove(&authorized.tenant()?.name, &checked(name)?, &authorized.by()).await?;
    Ok(Json((&record).into()))
}

/// A name that a plugin can have.
fn checked(name: String) -> Result<String, ApiError> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && is_plain {
        return Ok(name);
    }
    Err(ApiError::missing("there is no such plugin"))
}
