//! Which plugin answers below which path.
//!
//! Shared by the server, which asks for every request, and by the triggers, which come and go.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::Service;

/// The routes of a host; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Routes(Arc<RwLock<Table>>);

#[derive(Debug, Default)]
struct Table {
    services: HashMap<String, Arc<Service>>,
    /// No request is taken any more.
    is_closed: bool,
}

/// Where a request goes.
#[derive(Debug, Clone)]
pub enum RouteMatch {
    /// To this plugin.
    Service(Arc<Service>),
    /// Nowhere: there is no such route.
    Nothing,
    /// Nowhere: the host is shutting down.
    Closed,
}

/// A route that is taken; it is free again when this is dropped, unless another service has taken it over.
#[derive(Debug)]
pub struct Registration {
    routes: Routes,
    service: Arc<Service>,
}

impl Routes {
    /// The service with the longest route above a path.
    pub fn find(&self, path: &str) -> RouteMatch {
        let table = self.0.read();
        if table.is_closed {
            return RouteMatch::Closed;
        }
        let found = above(path).find_map(|route| table.services.get(route));
        found.map_or(RouteMatch::Nothing, |service| RouteMatch::Service(service.clone()))
    }

    /// From now on every request is answered that the host is shutting down.
    pub fn close(&self) {
        self.0.write().is_closed = true;
    }

    /// Gives a route to a service, from this instant on.
    pub fn take(&self, service: Arc<Service>) -> Registration {
        self.0.write().services.insert(service.route().to_owned(), service.clone());
        Registration { routes: self.clone(), service }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut table = self.routes.0.write();
        if table.services.get(self.service.route()).is_some_and(|found| Arc::ptr_eq(found, &self.service)) {
            table.services.remove(self.service.route());
        }
    }
}

/// A route as it is compared: without a slash at its end.
pub fn normal(route: &str) -> &str {
    route.trim_end_matches('/')
}

/// The routes above a path, the longest first: `/a/b`, `/a` and the empty one for `/a/b`.
fn above(path: &str) -> impl Iterator<Item = &str> {
    let longest = normal(path);
    std::iter::successors(Some(longest), |route| route.rfind('/').and_then(|at| route.get(..at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_above_a_path() {
        let all = |path: &str| above(path).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(all("/sessions/7/x"), ["/sessions/7/x", "/sessions/7", "/sessions", ""]);
        assert_eq!(all("/sessions/"), ["/sessions", ""]);
        assert_eq!(all("/"), [""]);
        assert_eq!(all("//a"), ["//a", "/", ""]);
        assert_eq!(all("*"), ["*"]);
    }
}
