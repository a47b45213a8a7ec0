//! Which jobs of a lease are handled together. Pure but for chance.

use rand::seq::SliceRandom;

use crate::batch::Part;
use sandbar_store::Job;

/// From so many crashes on a job is handled alone: one of those that were together in a lease may be what ends hosts.
const SUSPECT_CRASHES: u32 = 2;

/// The parts of a batch, the last of which is handled first.
///
/// Jobs that crashed too often are given up. Then come those that are above suspicion, together. Suspects come last,
/// each in a commit of its own and in random order: what is innocent is done sooner or later, before its own crashes
/// are too many.
pub(super) fn parts(jobs: Vec<Job>, max_crashes: u32) -> Vec<Part<Job>> {
    let (mut suspects, mut doomed, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for job in jobs {
        match job.crashes {
            crashes if crashes > max_crashes => {
                let reason = format!("hosts died or stalled over it {crashes} times, more than `max-crashes` allows");
                doomed.push(Part::doomed(job, reason));
            }
            crashes if crashes >= SUSPECT_CRASHES => suspects.push(Part::new(vec![job])),
            _ => others.push(job),
        }
    }
    suspects.shuffle(&mut rand::rng());
    let mut parts = suspects;
    if !others.is_empty() {
        parts.push(Part::new(others));
    }
    parts.append(&mut doomed);
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_job_is_in_one_part(crashes in prop::collection::vec(0_u32..6, 0..30), max_crashes in 1_u32..6) {
            let job = |(at, crashes): (usize, &u32)| Job {
                id: at as u64 + 1, attempt: 1, crashes: *crashes, priority: 0, time_ms: 0, payload: Default::default(),
            };
            let jobs: Vec<Job> = crashes.iter().enumerate().map(job).collect();
            let parts = parts(jobs.clone(), max_crashes);
            let mut ids: Vec<u64> = parts.iter().flat_map(|part| part.events()).map(|job| job.id).collect();
            ids.sort_unstable();
            prop_assert_eq!(ids, jobs.iter().map(|job| job.id).collect::<Vec<_>>());
            for part in &parts {
                let is_doomed = part.events().iter().any(|job| job.crashes > max_crashes);
                prop_assert_eq!(part.is_given_up(), is_doomed);
                let is_suspect = part.events().iter().any(|job| job.crashes >= SUSPECT_CRASHES);
                prop_assert!(part.events().len() == 1 || !is_suspect);
            }
        }
    }
}
