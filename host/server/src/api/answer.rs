//! How the API answers: JSON, and for errors `{"error": ..., "help": ...}`.

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Json, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::admin::AdminError;
use sandbar_fleet::FleetError;
use sandbar_store::StoreError;

/// Why something was not done.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct ApiError {
    #[serde(skip)]
    pub(super) status: StatusCode,
    /// What happened.
    pub(super) error: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) help: Option<String>,
}

#[expect(clippy::needless_pass_by_value, reason = "callers have errors and texts alike, and need them no more")]
impl ApiError {
    pub(super) fn new(status: StatusCode, error: impl ToString) -> Self {
        Self { status, error: error.to_string(), help: None }
    }

    pub(super) fn help(self, help: impl ToString) -> Self {
        Self { help: Some(help.to_string()), ..self }
    }

    pub(super) fn bad(error: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    pub(super) fn missing(error: impl ToString) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    /// There is too much to do.
    pub(super) fn busy(error: impl ToString) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error).help("try again in a moment")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, Json(self)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if error.is_transient() {
            return Self::busy(format_args!("the store does not answer: {error}"));
        }
        Self::new(StatusCode::CONFLICT, error)
    }
}

impl From<AdminError> for ApiError {
    fn from(error: AdminError) -> Self {
        match &error {
            AdminError::Name(_) => Self::bad(error),
            AdminError::Store { error: cause, .. } if cause.is_transient() => Self::busy(error),
            AdminError::Store { .. } | AdminError::Refused { .. } => Self::new(StatusCode::CONFLICT, error),
            AdminError::Stopped { .. } => Self::busy(error),
            AdminError::NoDeadLetter { .. } | AdminError::NotHeld(_) => Self::missing(error),
        }
    }
}

impl From<FleetError> for ApiError {
    fn from(error: FleetError) -> Self {
        let status = match &error {
            _ if error.is_transient() => return Self::busy(error),
            FleetError::Manifest(_) | FleetError::Ambiguous { .. } => StatusCode::BAD_REQUEST,
            FleetError::ManifestTooLarge(_) | FleetError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            FleetError::NoPlugin { .. } | FleetError::NoRelease { .. } => StatusCode::NOT_FOUND,
            FleetError::Refused { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            FleetError::Busy { .. }
            | FleetError::Trying { .. }
            | FleetError::Changed
            | FleetError::NoTrial
            | FleetError::NothingBefore
            | FleetError::Ended { .. } => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(%error, "a request to the API failed");
        }
        Self::new(status, error)
    }
}

/// What every answer of the API has in its head.
pub(super) fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    response
}

pub(super) async fn no_route() -> ApiError {
    ApiError::missing("there is no such path").help("GET /api/v1/openapi.json lists the paths")
}

pub(super) async fn no_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "the path does not have this method")
        .help("GET /api/v1/openapi.json lists the methods")
}

/// The query; errors are answered as JSON.
pub(super) struct JsonQuery<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for JsonQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(query)| Self(query)).map_err(|error: QueryRejection| ApiError::bad(error.body_text()))
    }
}

/// A body of JSON; errors are answered as JSON. Without a body it is `{}`.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let is_empty = request.headers().get(header::CONTENT_LENGTH).is_none_or(|length| length == "0")
            && request.headers().get(header::TRANSFER_ENCODING).is_none();
        if is_empty {
            return serde_json::from_str("{}").map(Self).map_err(ApiError::bad);
        }
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(error @ JsonRejection::MissingJsonContentType(_)) => {
                Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error.body_text()))
            }
            Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, error.body_text()))
            }
            Err(error) => Err(ApiError::bad(error.body_text())),
        }
    }
}
