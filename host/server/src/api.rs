//! The HTTP API below `/api/v1`: which caller may do what, and how it answers.
//!
//! All of it needs a token ([`sandbar_core::token`]). A request goes one way: `guard` finds out who calls, before
//! anything else is looked at; then the route's role and the tenant are checked; then its handler calls what the
//! command line calls as well ([`sandbar_fleet`], [`crate::admin`]), and answers JSON. [`routes()`] lists the routes;
//! the router, the checks of roles, the bounds and the OpenAPI document are made from one list.
//!
//! Bounded in bodies and times by the route, in requests at one time by [`REQUESTS_MAX`], in log lines about refusals
//! by `refusals`, and in connections by [`crate::http`]. What a token does not let see answers as if it were not
//! there.

mod answer;
mod dead;
mod guard;
mod openapi;
mod operate;
mod plugins;
mod refusals;
mod routes;

use std::sync::Arc;

use axum::{Extension, Router};
use tokio::sync::Semaphore;

use crate::host::Host;
use refusals::Refusals;
use sandbar_fleet::Fleet;
use sandbar_fleet::authenticator::Authenticator;
use sandbar_fleet::token_registry::Registry;
use sandbar_store::Store;

pub use routes::{Route, list as routes};

/// Where the API is.
pub const BASE: &str = "/api/v1";
/// Requests that are worked on at one time; more are answered with 503.
const REQUESTS_MAX: usize = 64;
/// Components that are received at one time: each may take as much memory as a component is large.
const UPLOADS_MAX: usize = 2;

/// Has a host, and keeps it while requests are answered.
pub trait HasHost: Send + Sync + 'static {
    /// The host.
    fn host(&self) -> &Host;
}

/// What the API works on.
pub struct Api {
    hosting: Arc<dyn HasHost>,
    store: Arc<dyn Store>,
    fleet: Fleet,
    authenticator: Authenticator,
    refusals: Refusals,
    requests: Semaphore,
    uploads: Semaphore,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

impl Api {
    /// The API of a host.
    pub fn new(hosting: Arc<dyn HasHost>) -> Self {
        let host = hosting.host();
        let (store, config) = (host.store().clone(), host.config());
        let prefix = &config.fleet.prefix;
        let configured = config.http.tokens.iter().filter_map(|token| Some((token.id.clone(), token.record()?)));
        let authenticator = Authenticator::new(configured, Registry::new(store.clone(), prefix));
        let fleet = Fleet::new(store.clone(), prefix);
        Self {
            hosting,
            store,
            fleet,
            authenticator,
            refusals: Refusals::default(),
            requests: Semaphore::new(REQUESTS_MAX),
            uploads: Semaphore::new(UPLOADS_MAX),
        }
    }

    /// Its routes, below [`BASE`].
    pub fn router(self) -> Router {
        let api = Arc::new(self);
        let (router, document) = routes::router(&api).split_for_parts();
        let document = openapi::document().nest(BASE, document);
        let router = router.layer(Extension(Arc::new(document)));
        let router = router.fallback(answer::no_route).method_not_allowed_fallback(answer::no_method);
        let guarded = router.layer(axum::middleware::from_fn_with_state(api.clone(), guard::authenticate));
        Router::new().nest(BASE, guarded.with_state(api))
    }

    fn host(&self) -> &Host {
        self.hosting.host()
    }
}
