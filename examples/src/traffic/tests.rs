//! The plugin's own reading of entries agrees with the fates that were computed without it.

use std::path::Path;

use super::{Converter, Entry, Expected, FIELD, Fate, Generator, convert, generate};
use result_aggregator::aggregate;

fn assert_meets_fate(entry: &Entry) {
    let (name, data) = &entry.field;
    let assessment =
        if *name == FIELD { aggregate::parse(data.as_bytes()) } else { Err("data: missing field".to_owned()) };
    match (&entry.fate, assessment) {
        (Fate::Result { camera, is_alert }, Ok(assessment)) => {
            assert_eq!((assessment.camera_id(), assessment.is_alert()), (camera.as_str(), *is_alert), "{data}");
            let result = assessment.result(None).expect("there is no detection that could be malformed");
            let result: serde_json::Value = serde_json::from_slice(&result).expect("a result is JSON");
            let input: serde_json::Value = serde_json::from_str(data).expect("so is what it is made of");
            for field in ["cameraId", "timestamp", "detectedObjects", "trafficGroups", "riskAssessment", "llmLatency"] {
                assert_eq!(result.get(field).filter(|value| !value.is_null()), input.get(field), "{field}");
            }
        }
        (Fate::DeadLetter { reason }, Err(given)) => assert!(given.starts_with(reason), "{given:?}, not {reason:?}"),
        (fate, assessment) => panic!("{fate:?} is not met by {assessment:?} of {data}"),
    }
}

#[test]
fn generated_entries_meet_their_fates() {
    let options = generate::Options { malformed_share: 0.2, high_risk_share: 0.2, ..generate::Options::default() };
    let entries: Vec<_> = Generator::new(options).take(5_000).collect();
    entries.iter().for_each(assert_meets_fate);
    let reasons = ["missing field `cameraId`", "riskAssessment.maxRiskLevel", "trafficGroups", "data: missing field"];
    for expected in reasons {
        let is_there =
            |entry: &Entry| matches!(&entry.fate, Fate::DeadLetter { reason } if reason.starts_with(expected));
        assert!(entries.iter().any(is_there), "no entry is malformed by `{expected}`");
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "the log of the tests must show what was skipped")]
fn real_detections_meet_their_fates() {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/traffic/detections-30fps.json");
    let Ok(recording) = std::fs::read(&recording) else {
        eprintln!("skipped: there is no recording at {}", recording.display());
        return;
    };
    let converter = Converter::parse(&recording).expect("it is a recording");
    let entries: Vec<_> = converter.entries(&convert::Options { cameras: 20, cut_every: 100 }).collect();
    entries.iter().for_each(assert_meets_fate);
    let expected: Expected = entries.iter().collect();
    assert_eq!((converter.frames(), expected.results, expected.dead_letters), (437, 8_653, 87));
    let all: Vec<_> = converter.entries(&convert::Options::default()).collect();
    let expected: Expected = all.iter().collect();
    let alerts: Vec<_> = expected.cameras.values().map(|camera| (camera.results, camera.alerts)).collect();
    assert_eq!(alerts, vec![(437, 24); 20], "every camera has every frame once");
}
