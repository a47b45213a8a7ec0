//! Tests of the records of releases.

use proptest::prelude::*;

use super::*;

fn release(number: u64) -> Release {
    let digest = format!("{:064x}", number * 0x1234_5678_9abc);
    Release { number, digest, manifest: String::new(), size_bytes: 1, time_ms: number, by: "ada".to_owned() }
}

/// A record after deploys of so many releases.
fn deployed(count: u64) -> Record {
    (0..count).fold(Record::default(), |record, now_ms| {
        let candidate = Candidate { release: release(record.next_number()), trial: None };
        record.begin(candidate, now_ms, now_ms + 10).unwrap().ready(now_ms)
    })
}

fn failed_probation() -> FailedProbation {
    FailedProbation { version: String::new(), reason: "it traps".to_owned(), events: vec!["events 1-0".to_owned()] }
}

fn active(record: &Record) -> u64 {
    record.active.as_ref().map_or(0, |release| release.number)
}

#[test]
fn going_back_never_meets_what_ended_badly() {
    let record = deployed(3).fail_probation(3, &failed_probation(), "h", 10).unwrap();
    assert_eq!(active(&record), 2);
    assert_eq!(
        record.clone().fail_probation(3, &failed_probation(), "other", 11),
        None,
        "another host has found it out too"
    );
    let candidate = Candidate { release: release(record.next_number()), trial: None };
    let record = record.begin(candidate, 20, 30).unwrap().ready(21);
    assert_eq!(active(&record), 4);
    let record = record.rollback(None, "bob", "", 22).unwrap();
    assert_eq!(active(&record), 2, "not 3, which failed probation");
    assert_eq!(active(&record.rollback(None, "bob", "", 23).unwrap()), 1);
}

#[test]
fn going_back_beyond_the_first_release_meets_nothing() {
    let record = deployed(1).fail_probation(1, &failed_probation(), "h", 10).unwrap();
    assert_eq!(active(&record), 0);
    let candidate = Candidate { release: release(record.next_number()), trial: None };
    let record = record.begin(candidate, 20, 30).unwrap().ready(21);
    assert_eq!(active(&record), 2);
    assert_eq!(active(&record.rollback(None, "bob", "", 22).unwrap()), 0, "not 1, which failed probation");
}

#[test]
fn a_deploy_whose_time_is_over_is_replaced() {
    let candidate = |record: &Record| Candidate { release: release(record.next_number()), trial: None };
    let record = deployed(1);
    let first = candidate(&record);
    let record = record.begin(first, 100, 200).unwrap();
    let second = candidate(&record);
    let busy = record.clone().begin(second.clone(), 150, 300).unwrap_err();
    assert_eq!(busy, FleetError::Busy { number: 2, by: "ada".to_owned() });
    let record = record.begin(second, 200, 300).unwrap();
    assert_eq!(record.candidate.unwrap().release.number, 3);
    assert_eq!(record.history[0].why, EndReason::Failed { hosts: Vec::new() });
}

#[test]
fn a_rollback_while_something_is_tried_drops_that_alone() {
    let trial = Some(Trial::Canary { percent: 10 });
    let record = deployed(2).begin(Candidate { release: release(3), trial }, 10, 20).unwrap().ready(11);
    assert_eq!((record.phase, active(&record)), (Phase::Trial, 2));
    let back = record.clone().rollback(None, "bob", "", 12).unwrap();
    assert_eq!((back.phase, active(&back), back.candidate), (Phase::Settled, 2, None));
    let failed_probation = record.fail_probation(3, &failed_probation(), "h", 12).unwrap();
    assert_eq!((failed_probation.phase, active(&failed_probation)), (Phase::Settled, 2));
}

/// One thing that is done to a record.
#[derive(Debug, Clone)]
enum Step {
    Begin(bool),
    Ready,
    Fail,
    Promote,
    End,
    Back,
    FailProbation(u64),
    Remove,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(Step::Begin),
        4 => Just(Step::Ready),
        1 => Just(Step::Fail),
        1 => Just(Step::Promote),
        1 => Just(Step::End),
        2 => Just(Step::Back),
        1 => (1_u64..20).prop_map(Step::FailProbation),
        1 => Just(Step::Remove),
    ]
}

proptest! {
    /// Whatever is done in whatever order: numbers are never used twice, a candidate is there in just those phases
    /// that say so, nothing is forgotten but the oldest, and a change counts.
    #[test]
    fn records_stay_sound(steps in proptest::collection::vec(step(), 0..200)) {
        let (mut record, mut numbers) = (Record::default(), std::collections::HashSet::new());
        for (now_ms, step) in (0_u64..).zip(steps) {
            let before = record.clone();
            let is_preparing = matches!(record.phase, Phase::Preparing { .. });
            let next = match step {
                Step::Begin(is_tried) => {
                    let release = release(record.next_number());
                    prop_assert!(!record.digests().any(|digest| digest == release.digest));
                    let number = release.number;
                    let trial = is_tried.then_some(Trial::Shadow);
                    let begun = record.begin(Candidate { release, trial }, now_ms, now_ms + 1000);
                    if begun.is_ok() {
                        prop_assert!(numbers.insert(number), "{} again", number);
                    }
                    begun.ok()
                }
                Step::Ready => is_preparing.then(|| record.ready(now_ms)),
                Step::Fail => is_preparing.then(|| record.fail(Vec::new(), now_ms)),
                Step::Promote => record.promote(now_ms).ok(),
                Step::End => record.end_trial("a", "", now_ms).ok(),
                Step::Back => record.rollback(None, "a", "", now_ms).ok(),
                Step::FailProbation(number) => record.fail_probation(number, &failed_probation(), "h", now_ms),
                Step::Remove => record.remove("a", now_ms).ok(),
            };
            let Some(next) = next else {
                record = before;
                continue;
            };
            prop_assert_eq!(next.generation, before.generation + 1);
            prop_assert_eq!(next.candidate.is_some(), next.phase != Phase::Settled);
            prop_assert!(next.history.len() <= HISTORY_MAX);
            let candidate = next.candidate.as_ref().map(|candidate| &candidate.release);
            for was in before.active.iter().chain(before.candidate.as_ref().map(|candidate| &candidate.release)) {
                let is_kept = next.active.iter().chain(candidate).chain(next.history.iter().map(|past| &past.release))
                    .any(|release| release == was);
                prop_assert!(is_kept, "{} is forgotten", was.number);
            }
            let text = serde_json::to_string(&next).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Record>(&text).unwrap(), &next);
            record = next;
        }
    }
}

#[test]
fn a_release_is_named_by_the_beginning_of_its_digest() {
    let mut record = deployed(3);
    let named = |record: &Record, named: &str| record.release(named).map(|release| release.number);
    let digest = release(2).digest;
    for length in [DIGEST_MIN, 64] {
        // All of these digests begin with zeros.
        let named = named(&record, &digest[..length]);
        assert_eq!(named.is_ok(), length == 64, "{length}: {named:?}");
    }
    let missing = Err(FleetError::NoRelease { to: "ffff".to_owned() });
    assert_eq!(named(&record, "ffff"), missing);
    assert!(matches!(named(&record, "0000"), Err(FleetError::Ambiguous { .. })));
    assert!(matches!(record.clone().rollback(Some("0000"), "bob", "", 9), Err(FleetError::Ambiguous { .. })));
    assert!(matches!(named(&record, ""), Err(FleetError::NoRelease { .. })), "too short to name anything");
    record.history[1].release.digest = digest.clone();
    assert_eq!(named(&record, &digest), Ok(2), "deployed twice, it is the one that ended last");
}
