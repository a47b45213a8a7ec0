//! Threads shared fairly between tenants: how long code of plugins may hold a thread, and whose turn it is next.
//!
//! A call of a plugin is polled only while it has one of the host's slots, of which there are as many as cores. A poll ends where the plugin
//! waits for the host, or at the next tick of the engine, so a slot is held for about a tick at most. Calls that find no slot wait here, not
//! among the tasks of the host, and are woken in the order of [`Plan`]: the tenant that has used the least time by its weight comes first, and
//! while several tenants are active none has all slots. A tenant that loops then takes the time that others leave, and no more.
//!
//! Where no tenant waits, a poll costs two short locks and two looks at the clock.

mod plan;

use std::cell::Cell;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use plan::Plan;

thread_local! {
    /// This thread polls a call already, whose slot serves for what that call polls within itself.
    static HOLDS: Cell<bool> = const { Cell::new(false) };
}

/// The slots of a host.
#[derive(Debug)]
pub struct Threads {
    plan: Mutex<Plan<Arc<Waiter>>>,
    begun: Instant,
}

/// A tenant's part of the slots; its calls run through it. It leaves the plan when it is dropped.
#[derive(Debug)]
pub struct Share {
    threads: Arc<Threads>,
    tenant: usize,
}

/// The time for which one call has held threads.
#[derive(Debug)]
pub struct Meter {
    base: Instant,
    /// Of polls that have ended, in nanoseconds.
    used_ns: AtomicU64,
    /// When the poll that runs began, in nanoseconds from `base` and one; 0 while none runs.
    since_ns: AtomicU64,
}

/// A call that waits for a slot.
#[derive(Debug)]
struct Waiter {
    granted: AtomicBool,
    waker: Mutex<Waker>,
}

impl Threads {
    /// So many slots, at least one.
    pub fn new(slots: usize) -> Arc<Self> {
        Arc::new(Self { plan: Mutex::new(Plan::new(slots)), begun: Instant::now() })
    }

    /// As many slots as there are cores, but no more than the runtime has threads.
    pub fn for_this_machine() -> Arc<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers = tokio::runtime::Handle::try_current().map_or(cores, |runtime| runtime.metrics().num_workers());
        Self::new(cores.min(workers))
    }

    /// A part for a tenant, which weighs as much in comparison with those of the others.
    pub fn share(self: &Arc<Self>, weight: u32) -> Share {
        Share { threads: self.clone(), tenant: self.plan.lock().join(weight) }
    }

    fn now(&self) -> u64 {
        nanos(self.begun.elapsed())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.threads.plan.lock().leave(self.tenant);
    }
}

impl Share {
    /// Runs a call in its turns, and measures the time for which it holds a thread: on the meter of the call, and added to `total_ns`.
    pub async fn run<F: Future>(&self, meter: &Meter, total_ns: &AtomicU64, call: F) -> F::Output {
        let mut call = pin!(call);
        let mut turn = Turn { share: self, meter, total_ns, waiter: None };
        std::future::poll_fn(|context| turn.poll(context, call.as_mut())).await
    }
}

impl Share {
    /// Gives a slot back, and wakes those who have one now.
    fn end(&self, used_ns: u64) {
        let now = self.threads.now();
        let served = {
            let mut plan = self.threads.plan.lock();
            let served = plan.end(self.tenant, used_ns, now);
            // Within the lock: who is dropped meanwhile has to know that the slot is its own to give back.
            served.iter().for_each(|waiter| waiter.granted.store(true, Ordering::Release));
            served
        };
        served.iter().for_each(|waiter| waiter.waker.lock().wake_by_ref());
    }
}

/// Polls of one call.
struct Turn<'a> {
    share: &'a Share,
    meter: &'a Meter,
    total_ns: &'a AtomicU64,
    waiter: Option<Arc<Waiter>>,
}

impl Turn<'_> {
    fn poll<F: Future>(&mut self, context: &mut Context<'_>, call: Pin<&mut F>) -> Poll<F::Output> {
        if HOLDS.get() {
            return call.poll(context);
        }
        if !self.has_slot(context) {
            return Poll::Pending;
        }
        let slot = Slot::hold(self);
        let polled = call.poll(context);
        drop(slot);
        polled
    }

    /// Takes a slot, or waits for one.
    fn has_slot(&mut self, context: &Context<'_>) -> bool {
        let Share { threads, tenant } = self.share;
        if let Some(waiter) = &self.waiter {
            if waiter.granted.load(Ordering::Acquire) {
                self.waiter = None;
                return true;
            }
            waiter.waker.lock().clone_from(context.waker());
            // It may have been granted before the waker was there.
            if !waiter.granted.load(Ordering::Acquire) {
                return false;
            }
            self.waiter = None;
            return true;
        }
        let now = threads.now();
        let mut plan = threads.plan.lock();
        if plan.begin(*tenant, now) {
            return true;
        }
        let waiter = Arc::new(Waiter { granted: AtomicBool::new(false), waker: Mutex::new(context.waker().clone()) });
        plan.wait(*tenant, waiter.clone());
        self.waiter = Some(waiter);
        false
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else { return };
        let Share { threads, tenant } = self.share;
        {
            let mut plan = threads.plan.lock();
            if !waiter.granted.load(Ordering::Acquire) {
                return plan.withdraw(*tenant, |other| Arc::ptr_eq(other, &waiter));
            }
        }
        self.share.end(0);
    }
}

/// A slot while its call is polled.
struct Slot<'a> {
    share: &'a Share,
    meter: &'a Meter,
    total_ns: &'a AtomicU64,
    begun: Instant,
}

impl<'a> Slot<'a> {
    fn hold(turn: &Turn<'a>) -> Self {
        let Turn { share, meter, total_ns, .. } = turn;
        HOLDS.set(true);
        Self { share, meter, total_ns, begun: meter.begin() }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        HOLDS.set(false);
        let used_ns = nanos(self.begun.elapsed());
        self.meter.end(used_ns);
        self.total_ns.fetch_add(used_ns, Ordering::Relaxed);
        self.share.end(used_ns);
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self { base: Instant::now(), used_ns: AtomicU64::new(0), since_ns: AtomicU64::new(0) }
    }
}

impl Meter {
    /// Begins anew, for another call.
    pub fn reset(&self) {
        self.used_ns.store(0, Ordering::Relaxed);
    }

    /// The time for which the call has held a thread, up to now.
    pub fn used(&self) -> Duration {
        let since = self.since_ns.load(Ordering::Relaxed);
        let running = if since == 0 { 0 } else { nanos(self.base.elapsed()).saturating_add(1).saturating_sub(since) };
        Duration::from_nanos(self.used_ns.load(Ordering::Relaxed).saturating_add(running))
    }

    fn begin(&self) -> Instant {
        let now = Instant::now();
        self.since_ns.store(nanos(now.saturating_duration_since(self.base)).saturating_add(1), Ordering::Relaxed);
        now
    }

    fn end(&self, used_ns: u64) {
        self.since_ns.store(0, Ordering::Relaxed);
        self.used_ns.fetch_add(used_ns, Ordering::Relaxed);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    /// Holds its thread for so long, so many times.
    async fn spin(times: u32, slice: Duration) {
        for _ in 0..times {
            let begun = Instant::now();
            while begun.elapsed() < slice {
                std::hint::spin_loop();
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn the_time_of_a_call_is_measured() {
        let (threads, meter, total) = (Threads::new(1), Meter::default(), AtomicU64::new(0));
        let share = threads.share(1);
        let call = async {
            spin(3, Duration::from_millis(2)).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(meter.used() >= Duration::from_millis(6), "the poll that runs counts");
        };
        share.run(&meter, &total, call).await;
        assert!((6..20).contains(&meter.used().as_millis()), "{:?}: waiting is free", meter.used());
        assert_eq!(u128::from(total.load(Ordering::Relaxed)), meter.used().as_nanos());
        meter.reset();
        assert_eq!(meter.used(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_call_within_a_call_needs_no_slot_of_its_own() {
        let threads = Threads::new(1);
        let (a, b) = (threads.share(1), threads.share(1));
        let (meter, total) = (Meter::default(), AtomicU64::new(0));
        let inner = async { b.run(&Meter::default(), &AtomicU64::new(0), spin(2, Duration::ZERO)).await };
        a.run(&meter, &total, inner).await;
    }

    #[tokio::test]
    async fn a_call_that_is_dropped_while_it_waits_leaves_no_gap() {
        let threads = Threads::new(1);
        let share = Arc::new(threads.share(1));
        let mut calls = JoinSet::new();
        for number in 0..50 {
            let share = share.clone();
            calls.spawn(async move {
                let (meter, total) = (Meter::default(), AtomicU64::new(0));
                let call = share.run(&meter, &total, spin(20, Duration::from_micros(50)));
                let limit = if number % 2 == 0 { Duration::from_millis(3) } else { Duration::from_secs(60) };
                tokio::time::timeout(limit, call).await.is_ok()
            });
        }
        let ended = calls.join_all().await;
        assert!(ended.iter().filter(|ended| **ended).count() >= 25);
        assert_eq!(threads.plan.lock().running(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn a_tenant_that_loops_leaves_the_others_their_share() {
        let threads = Threads::new(2);
        let (hostile, other) = (Arc::new(threads.share(1)), Arc::new(threads.share(1)));
        let mut loops = JoinSet::new();
        for _ in 0..100 {
            let hostile = hostile.clone();
            loops.spawn(async move {
                let (meter, total) = (Meter::default(), AtomicU64::new(0));
                hostile.run(&meter, &total, spin(u32::MAX, Duration::from_millis(1))).await;
            });
        }
        let (meter, total, begun) = (Meter::default(), AtomicU64::new(0), Instant::now());
        other.run(&meter, &total, spin(100, Duration::from_micros(100))).await;
        // In turn with a hundred loops it would be 10 s.
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        loops.shutdown().await;
        assert_eq!(threads.plan.lock().running(), 0);
    }
}
