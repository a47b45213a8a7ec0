//! What the store keeps: records of the fleet, tokens, runs, locks, dead letters.

use proptest::prelude::*;

use sandbar_core::token;
use sandbar_fleet::{Candidate, HostRelease, Node, Record, Release, ReleaseState, Report};
use sandbar_runtime::rollout::{FailedProbation, Trial};
use sandbar_server::admin::dead_letter::ListedDeadLetter;
use sandbar_store::{Entry, EntryId, Field, Holder};
use sandbar_tests::fuzz::{changed, check};
use sandbar_triggers::schedule::{Run, parse_last};

fn release(number: u64) -> Release {
    Release {
        number,
        digest: format!("{number:064x}"),
        manifest: "name = \"a\"\n".to_owned(),
        size_bytes: 7,
        time_ms: 1_795_000_000_000,
        by: "ada".to_owned(),
    }
}

/// Records as they come to be in a plugin's life.
fn records() -> Vec<Record> {
    let candidate = |number, trial| Candidate { release: release(number), trial };
    let first = Record::default().begin(candidate(1, None), 1, 2).unwrap();
    let active = first.clone().ready(3);
    let second = active.clone().begin(candidate(2, None), 4, 5).unwrap().ready(6);
    let tried = second.clone().begin(candidate(3, Some(Trial::Canary { percent: 5 })), 7, 8).unwrap().ready(9);
    let failed_probation =
        FailedProbation { version: release(2).digest, reason: "slow".to_owned(), events: vec!["s 1-0".to_owned()] };
    let back = second.clone().fail_probation(2, &failed_probation, "h", 10).unwrap();
    let removed = back.clone().remove("ada", 11).unwrap();
    vec![Record::default(), first, active, second, tried, back, removed]
}

fn json(values: &[impl serde::Serialize]) -> Vec<Vec<u8>> {
    values.iter().map(|value| serde_json::to_vec(value).unwrap()).collect()
}

#[test]
fn records_of_plugins_are_read_or_refused_and_changed() {
    let digests = prop_oneof![Just(release(1).digest), "[0-9a-f]{0,8}", ".{0,4}"];
    check(file!(), "records", (changed(json(&records())), digests, any::<u64>()), |(bytes, digest, now_ms)| {
        let Ok(record) = serde_json::from_slice::<Record>(&bytes) else { return };
        let candidate = Candidate { release: release(record.next_number()), trial: Some(Trial::Shadow) };
        let failed_probation = FailedProbation { version: digest.clone(), reason: String::new(), events: Vec::new() };
        let _ = record.digests().count();
        let _ = record.clone().begin(candidate, now_ms, now_ms);
        let _ = record.clone().ready(now_ms).promote(now_ms);
        let _ = record.clone().fail(Vec::new(), now_ms);
        let _ = record.clone().end_trial("x", "y", now_ms);
        let _ = record.clone().rollback(Some(&digest), "x", "y", now_ms);
        let _ =
            record.clone().rollback(None, "x", "y", now_ms).and_then(|record| record.rollback(None, "x", "y", now_ms));
        let _ = record.clone().fail_probation(now_ms % 4, &failed_probation, "h", now_ms);
        let _ = record.remove("x", now_ms);
    });
}

#[test]
fn hosts_and_their_reports_are_read_or_refused() {
    let stand = |state| Some(HostRelease { number: 1, digest: "ab".to_owned(), state });
    let failed = ReleaseState::Failed { reason: "no".to_owned() };
    let report =
        Report { host: "h".to_owned(), candidate: stand(failed), trial: None, active: stand(ReleaseState::Good) };
    let node = Node { host: "h".to_owned(), seen_ms: 5, faults: vec!["x".to_owned()], ..Node::default() };
    let bases = [json(&[report]), json(&[node])].concat();
    check(file!(), "nodes and reports", (changed(bases), any::<u64>()), |(bytes, now_ms)| {
        let _ = serde_json::from_slice::<Report>(&bytes);
        if let Ok(node) = serde_json::from_slice::<Node>(&bytes) {
            let _ = node.is_alive(now_ms);
        }
    });
}

#[test]
fn tokens_runs_and_locks_are_read_or_refused() {
    let token = format!(
        "{{\"name\":\"ci\",\"tenant\":\"*\",\"role\":\"deploy\",\"hash\":\"{}\",\"created_ms\":1,\"expires_ms\":2,\
         \"previous\":{{\"hash\":\"{}\",\"until_ms\":3}}}}",
        "ab".repeat(32),
        "cd".repeat(32)
    );
    let run = "{\"tick\":1,\"started\":2,\"duration_ms\":3,\"host\":\"h\",\"version\":\"v\",\"outcome\":\"done\",\"left_out\":4}";
    let holder = "7:0f3a:visits:1795000000000:00ff";
    let bases =
        [token.as_str(), run, holder, "1795000000000", "1795000000000-3"].map(|text| text.as_bytes().to_vec()).to_vec();
    check(file!(), "tokens, runs and locks", (changed(bases), any::<u64>()), |(bytes, now_ms)| {
        if let Ok(record) = serde_json::from_slice::<token::Record>(&bytes) {
            let _ = (record.is_expired(now_ms), format!("{record:?}"));
        }
        if let Some(run) = Run::parse(&bytes) {
            let _ = run.line();
        }
        let _ = (parse_last(&bytes), Holder::parse(&bytes));
        if let Ok(id) = String::from_utf8_lossy(&bytes).parse::<EntryId>() {
            assert_eq!(id.to_string().parse::<EntryId>().ok(), Some(id));
            let _ = (id.next(), id.previous());
        }
    });
}

#[test]
fn dead_letters_are_shown_whatever_is_in_them() {
    let text = "reason\nattempt\nplugin\nversion\ngroup\ntime\nid\npayload\nfield:a\nfield:\n1795000000000\n18446744073709551615\n\u{1b}[31m\n";
    check(file!(), "dead letters", changed(vec![text.as_bytes().to_vec()]), |bytes| {
        let parts: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        let name = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
        let values = parts.iter().rev();
        let fields = parts.iter().zip(values).map(|(part, value)| Field::new(name(part), value.to_vec())).collect();
        let dead_letter = ListedDeadLetter::from(Entry { id: EntryId::ZERO, fields });
        let _ = (dead_letter.line(), dead_letter.page(), dead_letter.has_event());
        assert!(serde_json::to_string(&dead_letter).is_ok());
        assert!(
            !dead_letter.page().contains('\u{1b}') && !dead_letter.line().contains('\u{1b}'),
            "a terminal obeys nothing of it"
        );
        let again = ListedDeadLetter::from(Entry { id: EntryId::ZERO, fields: dead_letter.fields() });
        assert_eq!((again.original, again.payload), (dead_letter.original, dead_letter.payload));
    });
}
