//! Whose turn it is: start-time fair queueing over the tenants of a host. Pure: times are handed in, in nanoseconds.
//!
//! Each tenant has a tag, the time that it has used divided by its weight. A tenant that was idle begins at the tag
//! of those that run, so that no tenant saves time up. The lowest tag is served next.

use std::collections::{BTreeSet, VecDeque};

/// For how long after its last poll a tenant counts as active.
const ACTIVE_NS: u64 = 1_000_000_000;
/// What one poll costs at least, so that polls which take no time that can be measured are counted too.
const POLL_NS_MIN: u64 = 200;
/// Times are counted in parts of a nanosecond, so that large weights do not round to nothing.
const SCALE: u64 = 1024;

/// The slots, who has them and who waits. `W` is what waits.
#[derive(Debug)]
pub(super) struct Plan<W> {
    slots: usize,
    running: usize,
    /// The tag of the tenant that was served last.
    now_tag: u64,
    tenants: Vec<Option<Tenant<W>>>,
    free: Vec<usize>,
    /// Tenants with waiters, by tag.
    waiting: BTreeSet<(u64, usize)>,
    /// The tenant that was served last, and the last one that was another, each with the time.
    latest: Option<(usize, u64)>,
    before: Option<(usize, u64)>,
}

#[derive(Debug)]
struct Tenant<W> {
    weight: u64,
    tag: u64,
    running: usize,
    waiters: VecDeque<W>,
    /// It has left, but some of its calls run.
    gone: bool,
}

impl<W> Plan<W> {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            slots: slots.max(1),
            running: 0,
            now_tag: 0,
            tenants: Vec::new(),
            free: Vec::new(),
            waiting: BTreeSet::new(),
            latest: None,
            before: None,
        }
    }

    /// Adds a tenant.
    pub(super) fn join(&mut self, weight: u32) -> usize {
        let (weight, waiters) = (u64::from(weight.max(1)), VecDeque::new());
        let tenant = Some(Tenant { weight, tag: 0, running: 0, waiters, gone: false });
        match self.free.pop() {
            Some(index) => {
                if let Some(place) = self.tenants.get_mut(index) {
                    *place = tenant;
                }
                index
            }
            None => {
                self.tenants.push(tenant);
                self.tenants.len() - 1
            }
        }
    }

    /// A tenant leaves. No task waits for it any more.
    pub(super) fn leave(&mut self, index: usize) {
        if let Some(Some(tenant)) = self.tenants.get_mut(index) {
            tenant.gone = true;
            self.waiting.remove(&(tenant.tag, index));
            self.clear(index);
        }
    }

    /// Makes room for another tenant where this one has left.
    fn clear(&mut self, index: usize) {
        if let Some(place) = self.tenants.get_mut(index)
            && place.as_ref().is_some_and(|tenant| tenant.gone && tenant.running == 0)
        {
            *place = None;
            self.free.push(index);
        }
    }

    /// Takes a slot for a tenant, if there is one for it and no task waits that goes before it.
    pub(super) fn begin(&mut self, index: usize, now: u64) -> bool {
        let cap = self.cap(index, now);
        let Some(Some(tenant)) = self.tenants.get(index) else { return true };
        if self.running >= self.slots || tenant.running >= cap || !tenant.waiters.is_empty() {
            return false;
        }
        self.serve(index, now);
        true
    }

    /// Adds what waits for a slot.
    pub(super) fn wait(&mut self, index: usize, waiter: W) {
        let now_tag = self.now_tag;
        let Some(Some(tenant)) = self.tenants.get_mut(index) else { return };
        if tenant.waiters.is_empty() {
            if tenant.running == 0 {
                tenant.tag = tenant.tag.max(now_tag);
            }
            self.waiting.insert((tenant.tag, index));
        }
        tenant.waiters.push_back(waiter);
    }

    /// Takes back what waits.
    pub(super) fn withdraw(&mut self, index: usize, is_it: impl Fn(&W) -> bool) {
        let Some(Some(tenant)) = self.tenants.get_mut(index) else { return };
        tenant.waiters.retain(|waiter| !is_it(waiter));
        if tenant.waiters.is_empty() {
            self.waiting.remove(&(tenant.tag, index));
        }
    }

    /// Gives a slot back that was used for so long, and answers who has one now.
    pub(super) fn end(&mut self, index: usize, used_ns: u64, now: u64) -> Vec<W> {
        self.running = self.running.saturating_sub(1);
        if let Some(Some(tenant)) = self.tenants.get_mut(index) {
            tenant.running = tenant.running.saturating_sub(1);
            let is_waiting = self.waiting.remove(&(tenant.tag, index));
            let cost = used_ns.max(POLL_NS_MIN).saturating_mul(SCALE) / tenant.weight;
            tenant.tag = tenant.tag.saturating_add(cost);
            if is_waiting {
                self.waiting.insert((tenant.tag, index));
            }
            self.clear(index);
        }
        let mut served = Vec::new();
        while self.running < self.slots
            && let Some(waiter) = self.next(now)
        {
            served.push(waiter);
        }
        served
    }

    /// Whether a slot was given within this time.
    pub(super) fn served_within(&self, time_ns: u64, now: u64) -> bool {
        self.latest.is_some_and(|(_, at)| now.saturating_sub(at) < time_ns)
    }

    /// How many slots are taken.
    #[cfg(test)]
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// Serves the first that may have a slot.
    fn next(&mut self, now: u64) -> Option<W> {
        // All that are passed over have as many slots as they may have, so they are few.
        let may = |index: usize| {
            let cap = self.cap(index, now);
            self.tenants.get(index).is_some_and(|tenant| tenant.as_ref().is_some_and(|tenant| tenant.running < cap))
        };
        let (tag, index) = self.waiting.iter().copied().find(|(_, index)| may(*index))?;
        let tenant = self.tenants.get_mut(index)?.as_mut()?;
        let waiter = tenant.waiters.pop_front();
        if tenant.waiters.is_empty() {
            self.waiting.remove(&(tag, index));
        }
        self.serve(index, now);
        waiter
    }

    /// Counts a slot as taken.
    fn serve(&mut self, index: usize, now: u64) {
        let Some(Some(tenant)) = self.tenants.get_mut(index) else { return };
        if tenant.running == 0 && tenant.waiters.is_empty() {
            tenant.tag = tenant.tag.max(self.now_tag);
        }
        self.now_tag = self.now_tag.max(tenant.tag);
        tenant.running += 1;
        self.running += 1;
        if self.latest.is_some_and(|(latest, _)| latest != index) {
            self.before = self.latest;
        }
        self.latest = Some((index, now));
    }

    /// How many slots a tenant may have: all but one while others are active.
    fn cap(&self, index: usize, now: u64) -> usize {
        let other = [self.latest, self.before].into_iter().flatten().find(|(tenant, _)| *tenant != index);
        let is_contended = other.is_some_and(|(_, at)| now.saturating_sub(at) < ACTIVE_NS);
        if is_contended { (self.slots - 1).max(1) } else { self.slots }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lets tenants of these weights want all the time that there is, and answers how much each got of so many slices.
    fn share(slots: usize, weights: &[u32], slices: u32) -> Vec<u64> {
        let mut plan = Plan::new(slots);
        let mut used = vec![0; weights.len()];
        let tenants: Vec<usize> = weights.iter().map(|weight| plan.join(*weight)).collect();
        let mut running = VecDeque::new();
        for tenant in &tenants {
            for _ in 0..slots + 1 {
                if plan.begin(*tenant, 0) {
                    running.push_back(*tenant);
                } else {
                    plan.wait(*tenant, *tenant);
                }
            }
        }
        for now in 0..slices {
            let tenant = running.pop_front().unwrap();
            used[tenant] += 1;
            // It wants to go on at once.
            plan.wait(tenant, tenant);
            running.extend(plan.end(tenant, 1_000_000, now.into()));
        }
        used
    }

    #[test]
    fn time_is_shared_by_weight() {
        let near = |got: &[u64], want: &[u64]| {
            assert!(got.iter().zip(want).all(|(got, want)| got.abs_diff(*want) <= 20), "{got:?}, not {want:?}");
        };
        near(&share(1, &[1, 1], 1000), &[500, 500]);
        near(&share(1, &[3, 1], 1000), &[750, 250]);
        near(&share(2, &[1, 1, 2], 1000), &[250, 250, 500]);
        near(&share(2, &[9, 1], 1000), &[500, 500]);
        near(&share(4, &[1; 10], 1000), &[100; 10]);
    }

    #[test]
    fn who_comes_back_after_a_rest_has_saved_nothing_up() {
        let mut plan = Plan::new(1);
        let (a, b) = (plan.join(1), plan.join(1));
        assert!(plan.begin(a, 0));
        let mut running = a;
        let mut turn = |plan: &mut Plan<usize>, now: u64| {
            plan.wait(running, running);
            let served = plan.end(running, 1_000_000, now);
            running = served[0];
            running
        };
        assert!((0..100).all(|now| turn(&mut plan, now) == a));
        (0..2).for_each(|_| plan.wait(b, b));
        let got = (100..120).filter(|now| turn(&mut plan, *now) == b).count();
        assert!((9..=11).contains(&got), "{got} of 20 turns");
    }

    #[test]
    fn one_alone_has_all_slots_and_none_has_while_others_are_active() {
        let mut plan = Plan::<u32>::new(3);
        let (a, b) = (plan.join(1), plan.join(1));
        assert!((0..3).all(|_| plan.begin(a, 0)));
        assert!(!plan.begin(b, 0), "no slot is free");
        plan.wait(b, 7);
        assert_eq!(plan.end(a, 5, 0), [7]);
        plan.end(b, 5, 1);
        assert!(!plan.begin(a, 2), "two of three");
        assert!(plan.begin(b, 2));
        plan.end(b, 5, 3);
        assert!(plan.begin(a, 3 + ACTIVE_NS), "the other is no longer active");
    }

    #[test]
    fn nobody_saves_time_up() {
        let mut plan = Plan::<u32>::new(1);
        let (a, b) = (plan.join(1), plan.join(1));
        for _ in 0..1000 {
            assert!(plan.begin(a, 0));
            plan.end(a, 1_000_000, 0);
        }
        // b comes for the first time, and does not get a second on its own for that.
        let (mut got, mut runs) = (0, b);
        assert!(plan.begin(b, 0));
        plan.wait(a, 0);
        for _ in 0..100 {
            plan.wait(runs, 0);
            got += u32::from(runs == b);
            let before: Vec<usize> = [a, b].into_iter().map(|t| plan.tenants[t].as_ref().unwrap().running).collect();
            assert_eq!(before.iter().sum::<usize>(), 1);
            assert_eq!(plan.end(runs, 1_000_000, 0).len(), 1);
            runs = if plan.tenants[a].as_ref().unwrap().running == 1 { a } else { b };
        }
        assert!((45..=55).contains(&got), "{got}");
    }

    proptest! {
        #[test]
        fn slots_are_never_exceeded_or_lost(
            slots in 1usize..4,
            steps in prop::collection::vec((0u8..4, 0usize..4, 0u64..3_000_000), 0..200),
        ) {
            let mut plan = Plan::<(usize, u64)>::new(slots);
            let tenants: Vec<usize> = (1..=4).map(|weight| plan.join(weight)).collect();
            let (mut running, mut waiting, mut number, mut now) = (Vec::new(), Vec::new(), 0, 0);
            for (what, tenant, time) in steps {
                now += time * 100;
                let tenant = tenants[tenant];
                match what {
                    0 | 1 if plan.begin(tenant, now) => running.push(tenant),
                    0 | 1 => {
                        number += 1;
                        plan.wait(tenant, (tenant, number));
                        waiting.push((tenant, number));
                    }
                    2 if !running.is_empty() => {
                        let ended = running.swap_remove(tenant % running.len());
                        for served in plan.end(ended, time, now) {
                            prop_assert!(waiting.contains(&served));
                            waiting.retain(|waiter| *waiter != served);
                            running.push(served.0);
                        }
                    }
                    3 if !waiting.is_empty() => {
                        let gone = waiting.swap_remove(tenant % waiting.len());
                        plan.withdraw(gone.0, |waiter| *waiter == gone);
                    }
                    _ => {}
                }
                prop_assert_eq!(plan.running(), running.len());
                prop_assert!(running.len() <= slots);
            }
            // A waiter is served once the slots come back.
            while let Some(ended) = running.pop() {
                for served in plan.end(ended, 1, now) {
                    waiting.retain(|waiter| *waiter != served);
                    running.push(served.0);
                }
            }
            prop_assert!(waiting.is_empty(), "{waiting:?} is forgotten");
        }
    }
}
