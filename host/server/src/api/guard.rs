//! Who calls, and whether they may.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::time::timeout;

use super::answer::{ApiError, JsonQuery, with_headers};
use super::{Api, BASE, refusals};
use crate::http::Peer;
use sandbar_core::token::{Role, Scope};
use sandbar_fleet::authenticator::{Caller, Refused};

/// The tenant that a request is about.
#[derive(Debug, Clone)]
pub(super) struct RequestTenant {
    pub(super) name: String,
    pub(super) prefix: String,
}

/// Who asks, and about what.
#[derive(Debug, Clone)]
pub(super) struct AuthorizedRequest {
    pub(super) caller: Caller,
    /// None where a token for all tenants names none.
    tenant: Option<RequestTenant>,
}

impl AuthorizedRequest {
    /// The tenant, where one is needed.
    pub(super) fn tenant(&self) -> Result<&RequestTenant, ApiError> {
        self.tenant.as_ref().ok_or_else(|| {
            ApiError::bad("the token is for all tenants, and the request is about one").help("name it: ?tenant=NAME")
        })
    }

    /// The tenant's name, where the request is about one.
    pub(super) fn tenant_name(&self) -> Option<&str> {
        self.tenant.as_ref().map(|place| place.name.as_str())
    }

    /// Who it is, as it is kept beside what they do.
    pub(super) fn by(&self) -> String {
        format!("{} (token {})", self.caller.name, self.caller.id)
    }

    /// Whether the token is for all of the host.
    pub(super) fn is_host_wide(&self) -> bool {
        self.caller.scope == Scope::Host
    }
}

/// What every request of the API may say.
#[derive(Debug, Deserialize)]
pub(super) struct About {
    tenant: Option<String>,
}

/// Admits only requests with a valid token, whatever the path.
pub(super) async fn authenticate(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let header = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes().to_vec());
    match api.authenticator.check(header.as_deref()).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            with_headers(next.run(request).await)
        }
        Err(refused) => {
            log_refusal(&api, &request, refused.reason(), refused.id());
            with_headers(unauthorized(&refused).into_response())
        }
    }
}

fn unauthorized(refused: &Refused) -> ApiError {
    let help = "send `authorization: Bearer TOKEN`; `sandbar token create NAME --role read` makes one";
    match refused {
        Refused::Absent => ApiError::new(StatusCode::UNAUTHORIZED, "a token is needed").help(help),
        Refused::Unavailable(_) => ApiError::busy("the store does not answer, so the token cannot be checked"),
        // Only the host's log says which of these it is.
        Refused::Malformed | Refused::Unknown(_) | Refused::Wrong(_) | Refused::Expired(_) => {
            ApiError::new(StatusCode::UNAUTHORIZED, "the token is not valid, or not any more").help(help)
        }
    }
}

/// What a route asks of its callers.
#[derive(Debug, Clone)]
pub(super) struct Needs {
    pub(super) api: Arc<Api>,
    pub(super) role: Role,
    pub(super) limit: Duration,
}

/// Admits only callers with the role, and only to their own tenant. Bounds the time.
pub(super) async fn authorize(
    State(needs): State<Needs>,
    Extension(caller): Extension<Caller>,
    about: Result<JsonQuery<About>, ApiError>,
    mut request: Request,
    next: Next,
) -> Response {
    let Needs { api, role, limit } = needs;
    if caller.role < role {
        log_refusal(&api, &request, "role", Some(&caller.id));
        let has = caller.role;
        let error =
            ApiError::new(StatusCode::FORBIDDEN, format_args!("the token has the role `{has}`; `{role}` is needed"));
        return error.help("sandbar token create NAME --role ROLE makes another").into_response();
    }
    let named = match about {
        Ok(JsonQuery(About { tenant })) => tenant,
        Err(error) => return error.into_response(),
    };
    let tenant = match locate(&api, &caller, named) {
        Ok(tenant) => tenant,
        Err(error) => {
            if error.status == StatusCode::FORBIDDEN {
                log_refusal(&api, &request, "tenant", Some(&caller.id));
            }
            return error.into_response();
        }
    };
    let Ok(_permit) = api.requests.try_acquire() else {
        return ApiError::busy("too many requests to the API are being worked on").into_response();
    };
    request.extensions_mut().insert(AuthorizedRequest { caller, tenant });
    match timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            ApiError::busy(format_args!("it was not finished within {limit:?}; what was done stands")).into_response()
        }
    }
}

/// The tenant that a request is about. A tenant's token does not reveal whether other tenants exist.
fn locate(api: &Api, caller: &Caller, named: Option<String>) -> Result<Option<RequestTenant>, ApiError> {
    let name = match (&caller.scope, named) {
        (Scope::Tenant(own), Some(named)) if *own != named => {
            return Err(ApiError::new(StatusCode::FORBIDDEN, "the token is for another tenant"));
        }
        (Scope::Tenant(own), _) => own.clone(),
        (Scope::Host, Some(named)) => named,
        (Scope::Host, None) => match api.host().config().tenants.as_slice() {
            [only] => only.name.clone(),
            _ => return Ok(None),
        },
    };
    let mut tenants = api.host().config().tenants.iter();
    let found = tenants.find(|tenant| tenant.name == name);
    let found = found.ok_or_else(|| ApiError::missing(format_args!("this host has no tenant `{name}`")))?;
    Ok(Some(RequestTenant { name, prefix: found.prefix.clone() }))
}

fn log_refusal(api: &Api, request: &Request, reason: &'static str, id: Option<&sandbar_core::token::TokenId>) {
    let client = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
    // The base was taken away on the way here.
    let path = format!("{BASE}{}", request.uri().path());
    api.refusals.log(refusals::Request { client, method: request.method().as_str(), path: &path }, reason, id);
}
