//! Dead letters.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Json, Path, State};
use serde::{Deserialize, Serialize};

use super::Api;
use super::answer::{ApiError, Asked, Told};
use super::guard::Visit;
use crate::admin::dead::{BATCH_MAX, DeadLetters, Fate, Place, Report, Which};
use crate::admin::dead_letter::ListedDeadLetter;
use sandbar_store::EntryId;

/// How many letters one request settles at most where it names them.
const IDS_MAX: usize = 1000;
/// How many letters one request settles at most where it means all.
const ALL_MAX: u64 = 10_000;

#[derive(Debug, Deserialize)]
pub(super) struct Page {
    stream: Option<String>,
    queue: Option<String>,
    before: Option<String>,
    limit: Option<u32>,
}

/// Some letters.
#[derive(Debug, Serialize)]
pub(super) struct Letters {
    #[serde(rename = "letters")]
    dead_letters: Vec<ListedDeadLetter>,
    /// What `before` is for the next page; none where there are no more.
    next: Option<String>,
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(visit): Extension<Visit>,
    Asked(page): Asked<Page>,
) -> Result<Json<Letters>, ApiError> {
    let dead_letters = admin(&api, &visit, page.stream.as_deref(), page.queue.as_deref())?;
    let limit = page.limit.unwrap_or(BATCH_MAX);
    if !(1..=BATCH_MAX).contains(&limit) {
        return Err(ApiError::bad(format_args!("`limit` is {limit}; 1 to {BATCH_MAX} are allowed")));
    }
    let end = match page.before.as_deref().map(id).transpose()? {
        None => Some(EntryId::MAX),
        Some(before) => before.previous(),
    };
    let Some(end) = end else { return Ok(Json(Letters { dead_letters: Vec::new(), next: None })) };
    let dead_letters = dead_letters.before(end, limit).await?;
    let is_full = dead_letters.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let next = dead_letters.last().filter(|_| is_full).map(|dead_letter| dead_letter.id.to_string());
    Ok(Json(Letters { dead_letters, next }))
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Extension(visit): Extension<Visit>,
    Path(dead_letter): Path<String>,
    Asked(page): Asked<Page>,
) -> Result<Json<ListedDeadLetter>, ApiError> {
    let dead_letters = admin(&api, &visit, page.stream.as_deref(), page.queue.as_deref())?;
    let found = dead_letters.find(&[id(&dead_letter)?]).await?.into_iter().next();
    found.map(Json).ok_or_else(|| ApiError::missing("there is no such letter"))
}

/// Which letters are settled.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settle {
    stream: Option<String>,
    queue: Option<String>,
    #[serde(default)]
    ids: Vec<String>,
    #[serde(default)]
    all: bool,
}

pub(super) async fn retry(
    State(api): State<Arc<Api>>,
    Extension(visit): Extension<Visit>,
    Told(told): Told<Settle>,
) -> Result<Json<Report>, ApiError> {
    settle(&api, &visit, told, Fate::Retry).await
}

pub(super) async fn drop(
    State(api): State<Arc<Api>>,
    Extension(visit): Extension<Visit>,
    Told(told): Told<Settle>,
) -> Result<Json<Report>, ApiError> {
    settle(&api, &visit, told, Fate::Drop).await
}

async fn settle(api: &Api, visit: &Visit, told: Settle, fate: Fate) -> Result<Json<Report>, ApiError> {
    let dead_letters = admin(api, visit, told.stream.as_deref(), told.queue.as_deref())?;
    let which = match (told.ids.is_empty(), told.all) {
        (false, false) if told.ids.len() > IDS_MAX => {
            return Err(ApiError::bad(format_args!(
                "there are {} `ids`; at most {IDS_MAX} are allowed",
                told.ids.len()
            )));
        }
        (false, false) => Which::Ids(told.ids.iter().map(|text| id(text)).collect::<Result<_, _>>()?),
        (true, true) => Which::Oldest(ALL_MAX),
        _ => return Err(ApiError::bad("either `ids` or `\"all\": true` is needed")),
    };
    Ok(Json(dead_letters.settle(which, fate).await?))
}

fn admin(api: &Api, visit: &Visit, stream: Option<&str>, queue: Option<&str>) -> Result<DeadLetters, ApiError> {
    let place = match (stream, queue) {
        (Some(stream), None) => Place::Stream(stream),
        (None, Some(queue)) => Place::Queue(queue),
        _ => return Err(ApiError::bad("either `stream` or `queue` is needed")),
    };
    Ok(DeadLetters::of(api.store.clone(), &visit.tenant()?.prefix, place)?)
}

fn id(text: &str) -> Result<EntryId, ApiError> {
    text.parse().map_err(|error| ApiError::bad(format_args!("`{}` is no id: {error}", text.escape_debug())))
}
