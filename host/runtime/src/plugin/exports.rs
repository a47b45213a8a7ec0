//! What a component offers to be called: each export is optional, and found once for all instances.

use wasmtime::AsContextMut;
use wasmtime::component::{Instance, InstancePre};
use wasmtime_wasi_http::p2::bindings::exports::wasi::http::incoming_handler;

use super::Inspection;
use crate::bindings::exports::sandbar::plugin::{handler, loader, schedule};
use crate::guest::State;
use sandbar_core::manifest::{HANDLER, INCOMING, SCHEDULE};

/// What `cache.fetch` calls.
pub(crate) const LOADER: &str = "sandbar:plugin/loader@0.1.0";

/// Whether the name of an export is that of an interface, of whatever compatible version.
pub(super) fn is(exported: &str, interface: &str) -> bool {
    let name = |name: &str| name.split_once('@').map(|(name, _)| name.to_owned());
    name(exported) == name(interface)
}

/// Where the exports of a component are.
#[derive(Clone, Default)]
pub(crate) struct Exports {
    handler: Option<handler::GuestIndices>,
    schedule: Option<schedule::GuestIndices>,
    loader: Option<loader::GuestIndices>,
    incoming: Option<incoming_handler::GuestIndices>,
}

/// The exports of one instance.
pub(crate) struct Exported {
    pub(crate) handler: Option<handler::Guest>,
    pub(crate) schedule: Option<schedule::Guest>,
    pub(crate) loader: Option<loader::Guest>,
    pub(crate) incoming: Option<incoming_handler::Guest>,
}

impl Exports {
    /// Finds the exports among those that the component has.
    pub(super) fn find(pre: &InstancePre<State>, inspection: &Inspection) -> wasmtime::Result<Self> {
        let has = |interface| inspection.has_export(interface);
        Ok(Self {
            handler: has(HANDLER).then(|| handler::GuestIndices::new(pre)).transpose()?,
            schedule: has(SCHEDULE).then(|| schedule::GuestIndices::new(pre)).transpose()?,
            loader: has(LOADER).then(|| loader::GuestIndices::new(pre)).transpose()?,
            incoming: has(INCOMING).then(|| incoming_handler::GuestIndices::new(pre)).transpose()?,
        })
    }

    /// Whether the component loads what `cache.fetch` misses.
    pub(crate) fn has_loader(&self) -> bool {
        self.loader.is_some()
    }

    /// The exports of an instance.
    pub(crate) fn load(
        &self,
        mut store: impl AsContextMut<Data = State>,
        instance: &Instance,
    ) -> wasmtime::Result<Exported> {
        Ok(Exported {
            handler: self.handler.as_ref().map(|found| found.load(&mut store, instance)).transpose()?,
            schedule: self.schedule.as_ref().map(|found| found.load(&mut store, instance)).transpose()?,
            loader: self.loader.as_ref().map(|found| found.load(&mut store, instance)).transpose()?,
            incoming: self.incoming.as_ref().map(|found| found.load(&mut store, instance)).transpose()?,
        })
    }
}
