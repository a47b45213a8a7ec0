//! Instances that wait for a call.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Instance;
use crate::scheduling::quota::{PluginQuota, Spare};

/// Instances that wait for a call. Never more than the host keeps of all plugins together; those of a tenant go when
/// it needs room.
#[derive(Debug)]
pub(super) struct Idle {
    this: Weak<Self>,
    /// Each with the number by which it rests.
    instances: Mutex<Vec<(u64, Instance)>>,
    quota: Arc<PluginQuota>,
}

impl Idle {
    pub(super) fn new(quota: &Arc<PluginQuota>) -> Arc<Self> {
        let idle = Arc::new_cyclic(|this: &Weak<Self>| Self {
            this: this.clone(),
            instances: Mutex::default(),
            quota: quota.clone(),
        });
        quota.can_spare(idle.this.clone());
        idle
    }

    pub(super) fn len(&self) -> usize {
        self.instances.lock().len()
    }

    /// Keeps an instance, where one of another plugin has to go for it if need be, or drops it where there are too
    /// many.
    pub(super) fn keep(&self, instance: Instance) {
        let displaced = {
            let mut instances = self.instances.lock();
            // Numbered while it is locked, so that the one that displaces it finds it.
            let Some((number, displaced)) = self.quota.host().rest(self.this.clone(), instances.is_empty()) else {
                return;
            };
            instances.push((number, instance));
            displaced
        };
        if let Some(displaced) = displaced {
            displaced.give_up();
        }
    }

    /// The one that has waited least.
    pub(super) fn take(&self) -> Option<Instance> {
        let (number, instance) = self.instances.lock().pop()?;
        self.quota.host().wake([number]);
        Some(instance)
    }
}

impl Spare for Idle {
    fn shed(&self) {
        let instances = std::mem::take(&mut *self.instances.lock());
        self.quota.host().wake(instances.iter().map(|(number, _)| *number));
    }

    fn give_up(&self, number: u64) {
        let mut instances = self.instances.lock();
        let found = instances.iter().position(|(other, _)| *other == number);
        let given_up = found.map(|at| instances.remove(at));
        // It takes a while to drop one.
        drop(instances);
        drop(given_up);
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.shed();
    }
}
