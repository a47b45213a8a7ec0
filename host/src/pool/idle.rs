//! Instances that wait for a call.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Instance;
use crate::quota::{PluginQuota, Spare};

/// Instances that wait for a call. Never more than the host keeps of all plugins together; those of a tenant go when it needs room.
#[derive(Debug)]
pub(super) struct Idle {
    instances: Mutex<Vec<Instance>>,
    quota: Arc<PluginQuota>,
}

impl Idle {
    pub(super) fn new(quota: &Arc<PluginQuota>) -> Arc<Self> {
        let idle = Arc::new(Self { instances: Mutex::default(), quota: quota.clone() });
        let weak: Weak<Self> = Arc::downgrade(&idle);
        quota.can_spare(weak);
        idle
    }

    pub(super) fn len(&self) -> usize {
        self.instances.lock().len()
    }

    /// Keeps an instance, or drops it where there are too many.
    pub(super) fn keep(&self, instance: Instance) {
        if self.quota.host().rest() {
            self.instances.lock().push(instance);
        }
    }

    /// The one that has waited least.
    pub(super) fn take(&self) -> Option<Instance> {
        let instance = self.instances.lock().pop()?;
        self.quota.host().wake(1);
        Some(instance)
    }
}

impl Spare for Idle {
    fn shed(&self) {
        let instances = std::mem::take(&mut *self.instances.lock());
        self.quota.host().wake(instances.len());
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.shed();
    }
}
