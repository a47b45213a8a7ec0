//! Tests of quotas.

use super::*;

fn quota(config: &QuotaConfig, limits: &Limits) -> Arc<PluginQuota> {
    TenantQuota::new("t", config, &HostTotals::new(10, false), None, true).plugin("p", limits)
}

#[tokio::test]
async fn calls_in_flight_are_counted_for_the_plugin_and_for_the_tenant() {
    let quota =
        quota(&QuotaConfig { calls: Some(2), ..QuotaConfig::default() }, &Limits { calls: 1, ..Limits::default() });
    let first = quota.call().await.unwrap();
    assert_eq!(quota.call().await.unwrap_err().to_string(), "`limits.calls` (1) is used up");
    drop(first);
    let _again = quota.call().await.unwrap();
    let other = quota.tenant.plugin("q", &Limits::default());
    let _second = other.call().await.unwrap();
    assert_eq!(other.call().await.unwrap_err().limit, "quota.calls");
}

#[test]
fn rates_bind_on_the_plugin_and_on_the_tenant() {
    let limits = Limits { events_per_second: Some(10), ..Limits::default() };
    let quota = quota(&QuotaConfig { events_per_second: Some(100), ..QuotaConfig::default() }, &limits);
    assert!(quota.try_admit(3).is_ok());
    let late = quota.try_admit(1).unwrap_err();
    assert_eq!((late.limit, late.max), ("limits.events-per-second", 10));
    assert!(late.retry_in <= Duration::from_millis(200));
    let other = quota.tenant.plugin("q", &Limits::default());
    assert!(other.try_admit(50).is_ok());
    assert_eq!(other.try_admit(1).unwrap_err().limit, "quota.events-per-second");
}

#[test]
fn versions_share_a_quota_unless_their_limits_differ() {
    let (first, limits) = (quota(&QuotaConfig::default(), &Limits::default()), Limits::default());
    assert!(Arc::ptr_eq(&first, &first.tenant.plugin("p", &limits)));
    let other = first.tenant.plugin("p", &Limits { calls: 3, ..limits });
    assert!(!Arc::ptr_eq(&first, &other) && Arc::ptr_eq(&first.cpu, &other.cpu), "the CPU time goes on");
}

#[test]
fn lines_are_counted_by_the_second() {
    let quota = quota(&QuotaConfig { log_lines_per_second: 10, ..QuotaConfig::default() }, &Limits::default());
    assert!((0..20).filter(|_| quota.log_line()).count() <= 3);
}

#[test]
fn instances_and_memory_come_back() {
    let config = QuotaConfig { instances: Some(1), memory: Some(bytesize::ByteSize(100)), ..QuotaConfig::default() };
    let quota = quota(&config, &Limits::default());
    let place = quota.instance().unwrap();
    assert_eq!(quota.instance().unwrap_err().to_string(), "`quota.instances` (1) is used up");
    drop(place);
    assert!(quota.instance().is_ok());
    let mut charge = quota.memory();
    assert!(charge.grow(60).is_ok());
    assert_eq!(quota.memory().grow(60).unwrap_err().limit, "quota.memory");
    drop(charge);
    assert!(quota.memory().grow(60).is_ok());
}

/// Owns instances that rest, and notes which it had to give up.
#[derive(Debug, Default)]
struct Owner(Mutex<Vec<u64>>);

impl Spare for Owner {
    fn shed(&self) {}

    fn give_up(&self, number: u64) {
        self.0.lock().push(number);
    }
}

#[test]
fn half_of_the_instances_stay_idle_and_the_last_used_ones_do() {
    let host = HostTotals::new(4, false);
    let owners: [Arc<Owner>; 3] = std::array::from_fn(|_| Arc::default());
    let rest = |owner: &Arc<Owner>, is_first| {
        let weak: Weak<Owner> = Arc::downgrade(owner);
        let (number, displaced) = host.rest(weak, is_first)?;
        displaced.into_iter().for_each(Displaced::give_up);
        Some(number)
    };
    let [a, b, c] = &owners;
    let (first, second) = (rest(a, true).unwrap(), rest(b, true).unwrap());
    assert_eq!(rest(a, false), None, "a second one is not kept at the cost of others");
    let third = rest(c, true).unwrap();
    assert_eq!(*a.0.lock(), [first], "the one that has rested longest goes");
    host.wake([second]);
    let fourth = rest(b, true).unwrap();
    assert!(b.0.lock().is_empty() && c.0.lock().is_empty(), "there was room");
    assert!(rest(a, true).is_some());
    assert_eq!(*c.0.lock(), [third]);
    host.wake([fourth]);
    assert!(rest(b, true).is_some() && b.0.lock().is_empty());
}

/// What an idle instance has.
#[derive(Debug)]
struct Idle(Mutex<Option<(InstancePlace, MemoryCharge)>>);

impl Spare for Idle {
    fn shed(&self) {
        self.0.lock().take();
    }

    fn give_up(&self, _number: u64) {}
}

#[test]
fn what_is_idle_is_given_up_before_anything_is_refused() {
    let config = QuotaConfig { instances: Some(2), memory: Some(bytesize::ByteSize(100)), ..QuotaConfig::default() };
    let quota = quota(&config, &Limits::default());
    let idle = || {
        let mut charge = quota.memory();
        charge.grow(60).unwrap();
        let idle = Arc::new(Idle(Mutex::new(Some((quota.instance().unwrap(), charge)))));
        let weak: Weak<Idle> = Arc::downgrade(&idle);
        quota.can_spare(weak);
        idle
    };
    let _busy = quota.instance().unwrap();
    let first = idle();
    let place = quota.instance();
    assert!(place.is_ok() && first.0.lock().is_none(), "its place");
    drop(place);
    let second = idle();
    assert!(quota.memory().grow(60).is_ok() && second.0.lock().is_none(), "its memory");
}
