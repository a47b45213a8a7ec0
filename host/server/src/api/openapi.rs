//! What the OpenAPI document says beside the routes: what the API is, and how callers prove who they are.

use std::sync::Arc;

use axum::Extension;
use axum::extract::Json;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa::{PartialSchema, ToSchema};

use super::answer::ApiError;

/// What the API is.
const DESCRIPTION: &str = "Manages the plugins of a fleet of hosts, and what they work on. Every request needs a token: \
                           `sandbar token create NAME --role ROLE` makes one. A token is for one tenant, or for all tenants; \
                           with the latter the query names the tenant that a request is about.";
/// The name of the way in which callers prove who they are.
const TOKEN: &str = "token";

/// A document without routes.
pub(super) fn document() -> OpenApi {
    let info = InfoBuilder::new().title("Sandbar").version("1").description(Some(DESCRIPTION));
    let mut document = OpenApiBuilder::new()
        .info(info.build())
        .security(Some([SecurityRequirement::new::<_, [&str; 0], &str>(TOKEN, [])]))
        .build();
    let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(TOKEN, scheme);
    components.schemas.insert(ApiError::name().into_owned(), ApiError::schema());
    document
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "The document", body = serde_json::Value)))]
pub(super) async fn openapi(Extension(document): Extension<Arc<OpenApi>>) -> Json<OpenApi> {
    Json(OpenApi::clone(&document))
}
