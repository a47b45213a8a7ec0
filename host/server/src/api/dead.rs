//! Dead letters.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Json, Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::answer::{ApiError, JsonBody, JsonQuery};
use super::guard::AuthorizedRequest;
use crate::admin::dead::{
    BATCH_MAX, DeadLetterAction, DeadLetterSelection, DeadLetterSource, DeadLetters, SettleReport,
};
use crate::admin::dead_letter::ListedDeadLetter;
use sandbar_store::EntryId;

/// How many dead letters one request settles at most where it names them.
const IDS_MAX: usize = 1000;
/// How many dead letters one request settles at most where it means all.
const ALL_MAX: u64 = 10_000;

/// Which dead letters are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// The stream that the events came from; this or `queue`
    stream: Option<String>,
    /// The queue that the jobs came from; this or `stream`
    queue: Option<String>,
    /// Only those before this id: the `next` of the page before
    before: Option<String>,
    /// How many at most, 1 to 100; 100 by default
    limit: Option<u32>,
}

/// Where a dead letter is.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SourceQuery {
    /// The stream that the event came from; this or `queue`
    stream: Option<String>,
    /// The queue that the job came from; this or `stream`
    queue: Option<String>,
}

/// A page of dead letters.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadLetterPage {
    #[serde(rename = "letters")]
    dead_letters: Vec<ListedDeadLetter>,
    /// The `before` of the next page; none where there are no more.
    next: Option<String>,
}

/// Dead letters, the newest first
#[utoipa::path(
    get,
    path = "/dead",
    params(PageQuery),
    responses((status = 200, description = "The dead letters", body = DeadLetterPage))
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(authorized): Extension<AuthorizedRequest>,
    JsonQuery(page): JsonQuery<PageQuery>,
) -> Result<Json<DeadLetterPage>, ApiError> {
    let dead_letters = admin(&api, &authorized, page.stream.as_deref(), page.queue.as_deref())?;
    let limit = page.limit.unwrap_or(BATCH_MAX);
    if !(1..=BATCH_MAX).contains(&limit) {
        return Err(ApiError::bad(format_args!("`limit` is {limit}; 1 to {BATCH_MAX} are allowed")));
    }
    let end = match page.before.as_deref().map(id).transpose()? {
        None => Some(EntryId::MAX),
        Some(before) => before.previous(),
    };
    let Some(end) = end else { return Ok(Json(DeadLetterPage { dead_letters: Vec::new(), next: None })) };
    let dead_letters = dead_letters.before(end, limit).await?;
    let is_full = dead_letters.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let next = dead_letters.last().filter(|_| is_full).map(|dead_letter| dead_letter.id.to_string());
    Ok(Json(DeadLetterPage { dead_letters, next }))
}

/// One dead letter
#[utoipa::path(
    get,
    path = "/dead/{id}",
    params(("id" = String, Path, description = "Its id"), SourceQuery),
    responses((status = 200, description = "The dead letter", body = ListedDeadLetter))
)]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Extension(authorized): Extension<AuthorizedRequest>,
    Path(dead_letter): Path<String>,
    JsonQuery(page): JsonQuery<SourceQuery>,
) -> Result<Json<ListedDeadLetter>, ApiError> {
    let dead_letters = admin(&api, &authorized, page.stream.as_deref(), page.queue.as_deref())?;
    let found = dead_letters.find(&[id(&dead_letter)?]).await?.into_iter().next();
    found.map(Json).ok_or_else(|| ApiError::missing("there is no such dead letter"))
}

/// Which dead letters are settled.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Settle {
    /// The stream that the events came from; this or `queue`
    stream: Option<String>,
    /// The queue that the jobs came from; this or `stream`
    queue: Option<String>,
    /// The dead letters; up to 1000. This or `all`
    #[serde(default)]
    ids: Vec<String>,
    /// All that are there now; up to 10000 at a time, the oldest first
    #[serde(default)]
    all: bool,
}

/// Sends events back to where they came from, and removes their dead letters
#[utoipa::path(
    post,
    path = "/dead/retry",
    request_body = Settle,
    responses((status = 200, description = "What was done", body = SettleReport))
)]
pub(super) async fn retry(
    State(api): State<Arc<Api>>,
    Extension(authorized): Extension<AuthorizedRequest>,
    JsonBody(body): JsonBody<Settle>,
) -> Result<Json<SettleReport>, ApiError> {
    settle(&api, &authorized, body, DeadLetterAction::Retry).await
}

/// Removes dead letters for good
#[utoipa::path(
    post,
    path = "/dead/drop",
    request_body = Settle,
    responses((status = 200, description = "What was done", body = SettleReport))
)]
pub(super) async fn drop(
    State(api): State<Arc<Api>>,
    Extension(authorized): Extension<AuthorizedRequest>,
    JsonBody(body): JsonBody<Settle>,
) -> Result<Json<SettleReport>, ApiError> {
    settle(&api, &authorized, body, DeadLetterAction::Drop).await
}

async fn settle(
    api: &Api,
    authorized: &AuthorizedRequest,
    body: Settle,
    fate: DeadLetterAction,
) -> Result<Json<SettleReport>, ApiError> {
    let dead_letters = admin(api, authorized, body.stream.as_deref(), body.queue.as_deref())?;
    let which = match (body.ids.is_empty(), body.all) {
        (false, false) if body.ids.len() > IDS_MAX => {
            return Err(ApiError::bad(format_args!(
                "there are {} `ids`; at most {IDS_MAX} are allowed",
                body.ids.len()
            )));
        }
        (false, false) => DeadLetterSelection::Ids(body.ids.iter().map(|text| id(text)).collect::<Result<_, _>>()?),
        (true, true) => DeadLetterSelection::Oldest(ALL_MAX),
        _ => return Err(ApiError::bad("either `ids` or `\"all\": true` is needed")),
    };
    Ok(Json(dead_letters.settle(which, fate).await?))
}

fn admin(
    api: &Api,
    authorized: &AuthorizedRequest,
    stream: Option<&str>,
    queue: Option<&str>,
) -> Result<DeadLetters, ApiError> {
    let place = match (stream, queue) {
        (Some(stream), None) => DeadLetterSource::Stream(stream),
        (None, Some(queue)) => DeadLetterSource::Queue(queue),
        _ => return Err(ApiError::bad("either `stream` or `queue` is needed")),
    };
    Ok(DeadLetters::of(api.store.clone(), &authorized.tenant()?.prefix, place)?)
}

fn id(text: &str) -> Result<EntryId, ApiError> {
    text.parse().map_err(|error| ApiError::bad(format_args!("`{}` is no id: {error}", text.escape_debug())))
}
