//! The one list of routes: each handler with the role that it needs and its bounds.
//!
//! The router, the checks of roles and the OpenAPI document are made from it. Method, path, parameters, body and
//! answers of a route stand at its handler.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use sandbar_core::token::Role;
use sandbar_fleet::{MANIFEST_BYTES_MAX, WAIT_MAX};
use sandbar_runtime::plugin::COMPONENT_BYTES_MAX;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::{ContentBuilder, Object, Ref, Required, ResponseBuilder, Type};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

use super::guard::{self, Needs};
use super::{Api, dead, openapi, operate, plugins};

/// The most bytes in a body of JSON.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// The most bytes in the body of a deploy: a component, a manifest, and what is around them.
const DEPLOY_BYTES_MAX: usize = COMPONENT_BYTES_MAX + MANIFEST_BYTES_MAX + 64 * 1024;
/// How long a request may take.
const TIME: Duration = Duration::from_secs(30);
/// How long a deploy may take: as long as hosts may, and five minutes for the component to arrive.
const DEPLOY_TIME: Duration = Duration::from_secs(WAIT_MAX.as_secs() + 300);

/// What each route answers where it does not do what it was asked for.
const ERRORS: [(&str, &str); 8] = [
    ("400", "The request is not understood."),
    ("401", "There is no token, or it is not valid."),
    ("403", "The token has too low a role, or is for another tenant."),
    ("404", "There is no such thing."),
    ("409", "It cannot be done in the present state."),
    ("413", "The body is too large."),
    ("422", "A host would not load the version."),
    ("503", "The store does not answer, or there is too much to do."),
];

type Handlers = UtoipaMethodRouter<Arc<Api>>;

/// What a route needs, and what bounds it.
struct Guarded {
    role: Role,
    bytes: usize,
    time: Duration,
    handlers: Handlers,
}

/// One route of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its method, in capitals.
    pub method: String,
    /// Its path below [`BASE`](super::BASE), with `{name}` for parameters.
    pub path: String,
    /// The role that a token must have.
    pub role: Role,
}

fn guarded(role: Role, handlers: Handlers) -> Guarded {
    Guarded { role, bytes: BODY_BYTES_MAX, time: TIME, handlers }
}

/// All routes.
fn all() -> Vec<Guarded> {
    let deploy =
        Guarded { role: Role::Deploy, bytes: DEPLOY_BYTES_MAX, time: DEPLOY_TIME, handlers: routes!(plugins::deploy) };
    vec![
        guarded(Role::Read, routes!(operate::whoami)),
        guarded(Role::Read, routes!(openapi::openapi)),
        guarded(Role::Read, routes!(plugins::list)),
        deploy,
        guarded(Role::Read, routes!(plugins::show)),
        guarded(Role::Deploy, routes!(plugins::remove)),
        guarded(Role::Operate, routes!(plugins::rollback)),
        guarded(Role::Deploy, routes!(plugins::promote)),
        guarded(Role::Operate, routes!(plugins::end_trial)),
        guarded(Role::Read, routes!(operate::nodes)),
        guarded(Role::Read, routes!(dead::list)),
        guarded(Role::Read, routes!(dead::show)),
        guarded(Role::Operate, routes!(dead::retry)),
        guarded(Role::Operate, routes!(dead::drop)),
        guarded(Role::Read, routes!(operate::queues)),
        guarded(Role::Read, routes!(operate::queue)),
        guarded(Role::Operate, routes!(operate::pause)),
        guarded(Role::Operate, routes!(operate::resume)),
        guarded(Role::Read, routes!(operate::locks)),
        guarded(Role::Operate, routes!(operate::break_lock)),
        guarded(Role::Read, routes!(operate::schedules)),
    ]
}

/// All routes with method, path and role.
pub fn list() -> Vec<Route> {
    let methods = |route: Guarded| {
        let role = route.role;
        let operations = operations(route.handlers);
        operations.into_iter().map(move |(method, path, _)| Route { method, path, role })
    };
    all().into_iter().flat_map(methods).collect()
}

/// The operations of a route: method, path and description.
fn operations(handlers: Handlers) -> Vec<(String, String, Operation)> {
    let (_, paths, _) = handlers;
    let of_path = |(path, item): (String, utoipa::openapi::PathItem)| {
        let methods = [("GET", item.get), ("POST", item.post), ("DELETE", item.delete)];
        methods.into_iter().filter_map(move |(method, found)| Some((method.to_owned(), path.clone(), found?)))
    };
    paths.paths.into_iter().flat_map(of_path).collect()
}

/// The router below [`BASE`](super::BASE) and the document that describes it.
pub(super) fn router(api: &Arc<Api>) -> OpenApiRouter<Arc<Api>> {
    let mut router = OpenApiRouter::new();
    for Guarded { role, bytes, time, handlers: (schemas, mut paths, handlers) } in all() {
        for item in paths.paths.values_mut() {
            for operation in [&mut item.get, &mut item.post, &mut item.delete].into_iter().flatten() {
                complete(operation, role);
            }
        }
        let needs = Needs { api: api.clone(), role, limit: time };
        let handlers = handlers.layer(DefaultBodyLimit::max(bytes)).layer(from_fn_with_state(needs, guard::authorize));
        router = router.routes((schemas, paths, handlers));
    }
    router
}

/// Adds what all operations have in common: the role, the tenant in the query, and the errors.
fn complete(operation: &mut Operation, role: Role) {
    operation.description = Some(format!("Needs the role `{role}`."));
    let tenant = ParameterBuilder::new()
        .name("tenant")
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some("The tenant; needed where the token is for all of several tenants"))
        .schema(Some(Object::with_type(Type::String)));
    operation.parameters.get_or_insert_default().push(tenant.build().into());
    let error = Ref::from_schema_name("ApiError");
    for (status, what) in ERRORS {
        let content = ContentBuilder::new().schema(Some(error.clone())).build();
        let response = ResponseBuilder::new().description(what).content("application/json", content).build();
        operation.responses.responses.insert(status.to_owned(), response.into());
    }
}
