//! Which plugin runs when: fair shares of CPU time between tenants, two priorities of threads, and quotas.

pub mod fair;
pub mod quota;
pub mod threads;
