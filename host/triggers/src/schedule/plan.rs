//! Which tick is to run now, and which are skipped.
//!
//! Pure. The only thing that is kept is the last tick that is settled: it was run, or skipped on purpose. All ticks
//! behind it up to now are due. All times are milliseconds since 1970 by the clock of the store.

use sandbar_core::manifest::{ManifestError, Missed, Overlap, ScheduleTrigger, Times};

/// How late a tick may begin where missed ones are skipped. Longer than it takes another host to notice that the one
/// that ran it is dead.
pub(super) const LATE_MAX_MS: u64 = 30_000;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Run this tick.
    Run(u64),
    /// Nothing before this time.
    Wait(u64),
    /// No tick is ever due again.
    Never,
}

/// The rules of one schedule.
#[derive(Debug)]
pub(super) struct Plan {
    times: Times,
    jitter_ms: u64,
    /// Makes the jitter of schedules differ.
    seed: u64,
    missed: Missed,
    catch_up_max: usize,
    overlap: Overlap,
}

impl Plan {
    /// The rules of a trigger; `subject` is unique to it.
    pub(super) fn new(trigger: &ScheduleTrigger, subject: &str) -> Result<Self, ManifestError> {
        Ok(Self {
            times: trigger.times()?,
            jitter_ms: u64::try_from(trigger.jitter.as_millis()).unwrap_or(u64::MAX),
            seed: subject.bytes().fold(0, |seed, byte| mix(seed ^ u64::from(byte))),
            missed: trigger.missed,
            catch_up_max: usize::try_from(trigger.catch_up_max).unwrap_or(usize::MAX),
            overlap: trigger.overlap,
        })
    }

    /// What is to be done, where `last` is settled. `continues`: this host has run `last` and has looked after the
    /// schedule since, so that nothing was missed.
    pub(super) fn next(&self, last: u64, now: u64, continues: bool) -> Next {
        let due = match self.missed {
            Missed::Skip => self
                .newest_begun(last, now)
                .filter(|tick| continues || now.saturating_sub(self.begins(*tick)) <= LATE_MAX_MS),
            Missed::CatchUp if continues => self.times.after(last),
            Missed::CatchUp => self.times.newest(last, now, self.catch_up_max).first().copied(),
        };
        if let Some(tick) = due.filter(|tick| self.begins(*tick) <= now) {
            return Next::Run(tick);
        }
        // The newest that is due may still have to begin; all before it are run or skipped.
        let newest = self.times.newest(last, now, 1).first().copied().filter(|tick| self.begins(*tick) > now);
        match newest.or_else(|| self.times.after(last.max(now))) {
            Some(tick) => Next::Wait(self.begins(tick)),
            None => Next::Never,
        }
    }

    /// What is settled when a tick that was run from `started` until `ended` is committed: it, and those that are
    /// skipped because they were due meanwhile.
    pub(super) fn settled(&self, tick: u64, started: u64, ended: u64) -> u64 {
        // A host that is already late has missed ticks before it, and not overlapping ones.
        let in_time = self.newest_begun(tick, started).is_none();
        match self.overlap {
            Overlap::Skip if in_time => self.newest_begun(tick, ended).unwrap_or(tick),
            Overlap::Skip | Overlap::Wait => tick,
        }
    }

    /// How many ticks between two are skipped where they are settled one after the other, up to `max`.
    pub(super) fn between(&self, last: u64, tick: u64, max: u64) -> u64 {
        self.times.count(last, tick, max)
    }

    /// When a tick begins: up to the jitter later than it is due, but before the next one is due.
    fn begins(&self, tick: u64) -> u64 {
        if self.jitter_ms == 0 {
            return tick;
        }
        let gap = self.times.after(tick).map_or(u64::MAX, |next| next - tick - 1);
        let most = self.jitter_ms.min(gap);
        tick.saturating_add(mix(self.seed ^ tick) % most.saturating_add(1).max(1))
    }

    /// The newest tick behind `after` that has begun by `until`.
    fn newest_begun(&self, after: u64, until: u64) -> Option<u64> {
        self.times.newest(after, until, 2).into_iter().rev().find(|tick| self.begins(*tick) <= until)
    }
}

/// Spreads numbers evenly (the finalizer of SplitMix64).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use sandbar_core::manifest::{Manifest, Trigger};

    const EVERY: u64 = 1000;

    fn plan(rest: &str) -> Plan {
        let text = format!("name = \"p\"\n[[trigger]]\ntype = \"schedule\"\nevery = \"1s\"\n{rest}");
        let manifest = Manifest::parse(&text).unwrap();
        let Trigger::Schedule(trigger) = &manifest.triggers[0] else { panic!("a schedule") };
        Plan::new(trigger, "p:schedule").unwrap()
    }

    #[test]
    fn a_tick_runs_when_it_is_due_and_once() {
        let plan = plan("");
        assert_eq!(plan.next(5000, 5999, false), Next::Wait(6000));
        assert_eq!(plan.next(5000, 6000, false), Next::Run(6000));
        assert_eq!(plan.settled(6000, 6000, 6500), 6000);
        assert_eq!(plan.next(6000, 6500, true), Next::Wait(7000));
    }

    #[test]
    fn missed_ticks_are_skipped_but_for_the_newest_that_is_not_too_late() {
        let skip = plan("missed = \"skip\"");
        assert_eq!(skip.next(5000, 105_400, false), Next::Run(105_000));
        let rare = "name = \"p\"\n[[trigger]]\ntype = \"schedule\"\ncron = \"0 3 * * *\"\n";
        let Trigger::Schedule(trigger) = &Manifest::parse(rare).unwrap().triggers[0] else { panic!("a schedule") };
        let rare = Plan::new(trigger, "p").unwrap();
        let (day, three) = (86_400_000, 3 * 3_600_000);
        assert_eq!(rare.next(three, day + three + LATE_MAX_MS, false), Next::Run(day + three));
        assert_eq!(rare.next(three, day + three + LATE_MAX_MS + 1, false), Next::Wait(2 * day + three));
    }

    #[test]
    fn missed_ticks_are_caught_up_from_the_oldest_but_not_all() {
        let all = plan("missed = \"catch-up\"\ncatch-up-max = 3");
        assert_eq!(all.next(5000, 7500, false), Next::Run(6000));
        assert_eq!(all.next(5000, 100_500, false), Next::Run(98_000));
        assert_eq!(
            all.next(98_000, 105_000, true),
            Next::Run(99_000),
            "what becomes due meanwhile does not push others out"
        );
        assert_eq!(all.between(5000, 98_000, 1000), 92);
    }

    #[test]
    fn overlapping_ticks_are_skipped_or_wait() {
        let skip = plan("");
        assert_eq!(skip.settled(6000, 6001, 8400), 8000);
        let wait = plan("overlap = \"wait\"");
        assert_eq!(wait.settled(6000, 6001, 8400), 6000);
        assert_eq!(wait.next(6000, 98_400, true), Next::Run(98_000), "however late it is");
        let late = plan("missed = \"catch-up\"");
        assert_eq!(late.settled(6000, 9000, 9400), 6000, "those behind it were missed");
    }

    #[test]
    fn jitter_is_bounded_differs_and_is_the_same_on_all_hosts() {
        let jittered = plan("jitter = \"300ms\"");
        let begins: Vec<u64> = (1..=200).map(|n| jittered.begins(n * EVERY) - n * EVERY).collect();
        assert!(begins.iter().all(|delay| *delay <= 300));
        assert!(begins.iter().any(|delay| *delay < 50) && begins.iter().any(|delay| *delay > 250));
        assert_eq!(begins[0], plan("jitter = \"300ms\"").begins(EVERY) - EVERY);
        let more_than_the_interval = plan("jitter = \"1h\"");
        assert!((1..=200).all(|n| more_than_the_interval.begins(n * EVERY) < (n + 1) * EVERY));
    }

    /// One host that always looks, and whose ticks take as long as they say.
    fn run(plan: &Plan, from: u64, until: u64, takes: &[u64]) -> Vec<(u64, u64)> {
        let (mut last, mut now, mut ran, mut continues) = (from, from, Vec::new(), false);
        let mut takes = takes.iter().cycle();
        while now < until {
            match plan.next(last, now, continues) {
                Next::Run(tick) => {
                    ran.push((tick, now));
                    let ended = now + takes.next().unwrap();
                    last = plan.settled(tick, now, ended);
                    (now, continues) = (ended, true);
                }
                Next::Wait(at) => {
                    assert!(at > now, "it does not wait for the past");
                    (now, continues) = (at, false);
                }
                Next::Never => break,
            }
        }
        ran
    }

    proptest! {
        #[test]
        fn ticks_run_in_order_once_and_not_before_they_are_due(
            takes in prop::collection::vec(1u64..3500, 1..6),
            jitter in 0u64..2000,
            catch_up: bool,
            wait: bool,
        ) {
            let missed = if catch_up { "catch-up" } else { "skip" };
            let overlap = if wait { "wait" } else { "skip" };
            let jitter = humantime::format_duration(Duration::from_millis(jitter));
            let plan = plan(&format!("missed = \"{missed}\"\noverlap = \"{overlap}\"\njitter = \"{jitter}\"\ncatch-up-max = 10000"));
            let ran = run(&plan, 50_000, 100_000, &takes);
            prop_assert!(!ran.is_empty());
            for (tick, at) in &ran {
                prop_assert!(tick <= at && tick % EVERY == 0);
            }
            for pair in ran.windows(2) {
                prop_assert!(pair[0].0 < pair[1].0, "each once, in order");
            }
            if catch_up && wait {
                let all: Vec<u64> = (1..=ran.len() as u64).map(|n| 50_000 + n * EVERY).collect();
                prop_assert_eq!(ran.iter().map(|(tick, _)| *tick).collect::<Vec<_>>(), all, "none is skipped");
            }
        }

        #[test]
        fn nothing_is_skipped_where_there_is_time(takes in prop::collection::vec(1u64..1000, 1..6), catch_up: bool, wait: bool) {
            let missed = if catch_up { "catch-up" } else { "skip" };
            let overlap = if wait { "wait" } else { "skip" };
            let ran = run(&plan(&format!("missed = \"{missed}\"\noverlap = \"{overlap}\"")), 50_000, 100_000, &takes);
            let ticks: Vec<u64> = ran.iter().map(|(tick, _)| *tick).collect();
            prop_assert_eq!(ticks, (51..100).map(|n| n * EVERY).collect::<Vec<_>>());
        }
    }
}
