//! Fair shares of CPU time between tenants: how long the code of a plugin may hold a thread, and which call runs next.
//!
//! A call of a plugin is polled only while it has one of the host's slots, of which there are as many as cores. A
//! poll ends where the plugin waits for the host, or where the engine interrupts it, so a slot is held for about 2 ms
//! at most. Calls without a slot wait here, not among the tasks of the host, and are woken in the order of [`Plan`]:
//! first the tenant that has used the least time by its weight. While several tenants are active none has all slots.
//! A tenant that loops gets the time that the others leave, and no more.
//!
//! A tenant that has used much CPU time lately is demoted to background priority: its calls run on background threads
//! ([`crate::scheduling::threads`]) with slots of their own, so that tenants in the foreground wait for none of them.
//! Background threads pause for as long as they ran while foreground code runs ([`duty_cycle`]). A host with one
//! tenant has no background.
//!
//! Where no tenant waits, a poll costs four short locks and a few readings of the clock.

mod duty_cycle;
mod plan;
mod recent;

use std::cell::Cell;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use crate::scheduling::threads::{PriorityThreads, background_threads};
use duty_cycle::DutyCycle;
use plan::Plan;
use recent::Recent;
use sandbar_core::priority::Priority;

/// For how long after their last poll others count as running in front, in nanoseconds.
const FRONT_NS: u64 = 50_000_000;

thread_local! {
    /// This thread polls a call already, whose slot serves for what that call polls within itself.
    static HOLDS: Cell<bool> = const { Cell::new(false) };
    /// Of this thread, where it is one behind.
    static DUTY_CYCLE: Cell<DutyCycle> = const { Cell::new(DutyCycle::NONE) };
}

/// The slots of a host.
#[derive(Debug)]
pub struct Threads {
    /// Of the threads in front.
    foreground: Mutex<Plan<Arc<Waiter>>>,
    /// Of those behind, which compete with the others only where the system lets them.
    background: Mutex<Plan<Arc<Waiter>>>,
    /// None where all run in front.
    threads: Option<PriorityThreads>,
    begun: Instant,
}

/// A tenant's part of the slots; its calls run through it. It leaves the plan when it is dropped.
#[derive(Debug)]
pub struct Share {
    threads: Arc<Threads>,
    /// Its place in the plan of each priority.
    foreground: usize,
    background: usize,
    weight: u32,
    recent: Mutex<Recent>,
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
    /// So many slots in front, at least one, and behind as many as there are threads; without `threads` all run in
    /// front.
    pub fn new(slots: usize, threads: Option<PriorityThreads>) -> Arc<Self> {
        let plan = |slots| Mutex::new(Plan::new(slots));
        Arc::new(Self {
            foreground: plan(slots),
            background: plan(background_threads()),
            threads,
            begun: Instant::now(),
        })
    }

    /// As many slots as there are cores, but no more than the runtime has threads. Where there is only one tenant,
    /// all run in front.
    pub fn for_this_machine(is_shared: bool) -> Arc<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers = Handle::try_current().map_or(cores, |runtime| runtime.metrics().num_workers());
        Self::new(cores.min(workers), if is_shared { PriorityThreads::of_this_runtime() } else { None })
    }

    /// A part for a tenant, which weighs as much in comparison with those of the others.
    pub fn share(self: &Arc<Self>, weight: u32) -> Share {
        let (foreground, background) = (self.foreground.lock().join(weight), self.background.lock().join(weight));
        Share { threads: self.clone(), foreground, background, weight, recent: Mutex::default() }
    }

    fn plan(&self, priority: Priority) -> &Mutex<Plan<Arc<Waiter>>> {
        match priority {
            Priority::Foreground => &self.foreground,
            Priority::Background => &self.background,
        }
    }

    /// Lets this thread behind rest where it has run for long and others run in front, and answers for how long. It
    /// sleeps as a whole: if other calls went on meanwhile, its core would have no rest.
    fn rest(&self, used: Duration) -> Duration {
        let mut duty_cycle = DUTY_CYCLE.get();
        let due = duty_cycle.add(used);
        DUTY_CYCLE.set(duty_cycle);
        let is_disturbing = || self.foreground.lock().served_within(FRONT_NS, self.now());
        let Some(rest) = due.filter(|_| is_disturbing()) else { return Duration::ZERO };
        let begun = Instant::now();
        std::thread::sleep(rest);
        // Where others leave it no core it sleeps for longer, as a poll takes longer then.
        begun.elapsed()
    }

    fn now(&self) -> u64 {
        nanos(self.begun.elapsed())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.threads.foreground.lock().leave(self.foreground);
        self.threads.background.lock().leave(self.background);
    }
}

impl Share {
    /// Runs work of the tenant to its end: in front as long as the tenant uses little, behind from when it has used
    /// much on. It ends early when it is dropped. An error is work that panicked behind.
    pub async fn place<F>(self: Arc<Self>, work: F) -> Result<F::Output, JoinError>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let Some(threads) = &self.threads.threads else { return Ok(work.await) };
        let mut work = Box::pin(work);
        let in_front = std::future::poll_fn(|context| {
            if self.is_much() {
                return Poll::Ready(None);
            }
            work.as_mut().poll(context).map(Some)
        });
        match in_front.await {
            Some(ended) => Ok(ended),
            None => AbortOnDropHandle::new(threads.handle(Priority::Background).spawn(work)).await,
        }
    }

    fn is_much(&self) -> bool {
        self.recent.lock().is_much(self.threads.now())
    }

    /// What it would have used without a rest counts as used lately, else idle_lru would bring it back in front.
    fn rested(&self, time: Duration) {
        if !time.is_zero() {
            self.recent.lock().add(nanos(time), self.weight, self.threads.now());
        }
    }

    /// Runs a call in its turns, and measures the time for which it holds a thread: on the meter of the call, and
    /// added to `total_ns`.
    pub async fn run<F: Future>(&self, meter: &Meter, total_ns: &AtomicU64, call: F) -> F::Output {
        let mut call = pin!(call);
        let mut turn = Turn { share: self, priority: Priority::current(), meter, total_ns, waiter: None };
        std::future::poll_fn(|context| turn.poll(context, call.as_mut())).await
    }

    /// Its place in the plan of a priority.
    fn tenant(&self, priority: Priority) -> usize {
        match priority {
            Priority::Foreground => self.foreground,
            Priority::Background => self.background,
        }
    }

    /// Returns a slot, and wakes the tasks that have one now.
    fn end(&self, priority: Priority, used_ns: u64) {
        let now = self.threads.now();
        self.recent.lock().add(used_ns, self.weight, now);
        let served = {
            let mut plan = self.threads.plan(priority).lock();
            let served = plan.end(self.tenant(priority), used_ns, now);
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
    /// Where it waits, or has waited last.
    priority: Priority,
    meter: &'a Meter,
    total_ns: &'a AtomicU64,
    waiter: Option<Arc<Waiter>>,
}

impl Turn<'_> {
    fn poll<F: Future>(&mut self, context: &mut Context<'_>, call: Pin<&mut F>) -> Poll<F::Output> {
        if HOLDS.get() {
            return call.poll(context);
        }
        let priority = Priority::current();
        if priority != self.priority {
            self.withdraw();
            self.priority = priority;
        }
        if !self.has_slot(context) {
            return Poll::Pending;
        }
        let slot = CpuSlot::hold(self);
        let polled = call.poll(context);
        let used = slot.begun.elapsed();
        drop(slot);
        if priority == Priority::Background {
            self.share.rested(self.share.threads.rest(used));
        }
        polled
    }

    /// Takes a slot, or waits for one.
    fn has_slot(&mut self, context: &Context<'_>) -> bool {
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
        let (threads, tenant) = (&self.share.threads, self.share.tenant(self.priority));
        let now = threads.now();
        let mut plan = threads.plan(self.priority).lock();
        if plan.begin(tenant, now) {
            return true;
        }
        let waiter = Arc::new(Waiter { granted: AtomicBool::new(false), waker: Mutex::new(context.waker().clone()) });
        plan.wait(tenant, waiter.clone());
        self.waiter = Some(waiter);
        false
    }
}

impl Turn<'_> {
    /// Waits no more.
    fn withdraw(&mut self) {
        let Some(waiter) = self.waiter.take() else { return };
        {
            let mut plan = self.share.threads.plan(self.priority).lock();
            if !waiter.granted.load(Ordering::Acquire) {
                return plan.withdraw(self.share.tenant(self.priority), |other| Arc::ptr_eq(other, &waiter));
            }
        }
        self.share.end(self.priority, 0);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.withdraw();
    }
}

/// A slot while its call is polled.
struct CpuSlot<'a> {
    share: &'a Share,
    priority: Priority,
    meter: &'a Meter,
    total_ns: &'a AtomicU64,
    begun: Instant,
}

impl<'a> CpuSlot<'a> {
    fn hold(turn: &Turn<'a>) -> Self {
        let Turn { share, priority, meter, total_ns, .. } = turn;
        HOLDS.set(true);
        Self { share, priority: *priority, meter, total_ns, begun: meter.begin() }
    }
}

impl Drop for CpuSlot<'_> {
    fn drop(&mut self) {
        HOLDS.set(false);
        let used_ns = nanos(self.begun.elapsed());
        self.meter.end(used_ns);
        self.total_ns.fetch_add(used_ns, Ordering::Relaxed);
        self.share.end(self.priority, used_ns);
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
mod tests;
