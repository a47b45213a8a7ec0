//! What results say, what is an alert, and which reasons malformed assessments get.

use serde_json::{Value, json};

use super::{Level, Risk, parse};

fn assessment() -> Value {
    json!({
        "requestId": "r-1",
        "cameraId": "7",
        "timestamp": "2026-11-21T08:00:00.000Z",
        "trafficGroups": [{ "groupId": 1, "riskLevel": "low", "text": "a \"quoted\" \u{1F697}" }],
        "riskAssessment": { "maxRiskLevel": "low", "hasDangerousDriving": false },
        "llmLatency": 0.84,
        "llmModel": "vision-7b",
    })
}

/// The assessment with one place set to another value.
fn with(pointer: &str, value: Value) -> Value {
    let mut assessment = assessment();
    *assessment.pointer_mut(pointer).expect("the place exists") = value;
    assessment
}

fn without(name: &str) -> Value {
    let mut assessment = assessment();
    assessment.as_object_mut().expect("it is an object").remove(name).expect("the field exists");
    assessment
}

fn result(assessment: &Value, detection: Option<&[u8]>) -> Value {
    let bytes = assessment.to_string().into_bytes();
    let result = parse(&bytes).expect("it is well-formed").result(detection).expect("so is the detection");
    serde_json::from_slice(&result).expect("a result is JSON")
}

fn reason(assessment: &Value) -> String {
    parse(&assessment.to_string().into_bytes()).expect_err("it is malformed")
}

#[test]
fn a_result_has_exactly_the_fields_of_the_contract_in_their_order() {
    let bytes = assessment().to_string().into_bytes();
    let result = parse(&bytes).expect("it is well-formed").result(None).expect("there is no detection");
    let text = String::from_utf8(result).expect("it is UTF-8");
    let expected = concat!(
        r#"{"cameraId":"7","timestamp":"2026-11-21T08:00:00.000Z","detectedObjects":[],"#,
        r#""trafficGroups":[{"groupId":1,"riskLevel":"low","text":"a \"quoted\" 🚗"}],"#,
        r#""riskAssessment":{"maxRiskLevel":"low","hasDangerousDriving":false},"#,
        r#""llmLatency":0.84,"llmModel":"vision-7b"}"#,
    );
    assert_eq!(
        serde_json::from_str::<Value>(&text).expect("JSON"),
        serde_json::from_str::<Value>(expected).expect("JSON")
    );
    let order =
        ["cameraId", "timestamp", "detectedObjects", "trafficGroups", "riskAssessment", "llmLatency", "llmModel"];
    let places: Vec<_> = order.iter().map(|name| text.find(&format!("\"{name}\":")).expect("it is there")).collect();
    assert!(places.is_sorted(), "{text}");
}

#[test]
fn objects_come_from_the_detection_then_from_the_assessment() {
    let mut own = assessment();
    own["detectedObjects"] = json!([{ "name": "bus" }]);
    let detection = json!({ "requestId": "r-1", "detectedObjects": [{ "name": "car" }] }).to_string().into_bytes();
    assert_eq!(result(&own, Some(&detection))["detectedObjects"], json!([{ "name": "car" }]));
    assert_eq!(result(&own, None)["detectedObjects"], json!([{ "name": "bus" }]));
    assert_eq!(result(&assessment(), None)["detectedObjects"], json!([]));
}

#[test]
fn snake_case_and_numbers_are_accepted_and_the_rest_may_be_missing() {
    let assessment = json!({
        "camera_id": 7,
        "timestamp": 1_795_248_000_000_u64,
        "traffic_groups": [],
        "risk_assessment": { "max_risk_level": "none", "has_dangerous_driving": true },
    });
    let bytes = assessment.to_string().into_bytes();
    let parsed = parse(&bytes).expect("it is well-formed");
    assert_eq!((parsed.camera_id(), parsed.request_id(), parsed.is_alert()), ("7", None, true));
    assert_eq!(
        result(&assessment, None),
        json!({
            "cameraId": 7,
            "timestamp": 1_795_248_000_000_u64,
            "detectedObjects": [],
            "trafficGroups": [],
            "riskAssessment": { "maxRiskLevel": "none", "hasDangerousDriving": true },
            "llmLatency": null,
            "llmModel": null,
        })
    );
}

#[test]
fn alerts_are_high_risk_or_dangerous_driving() {
    let alert = |max_risk_level, has_dangerous_driving| Risk { max_risk_level, has_dangerous_driving }.is_alert();
    assert_eq!(
        [Level::None, Level::Low, Level::Medium, Level::High, Level::Critical].map(|level| alert(level, false)),
        [false, false, false, true, true]
    );
    assert!(alert(Level::None, true));
}

#[test]
fn reasons_name_the_field() {
    let cases = [
        (
            with("/riskAssessment/maxRiskLevel", json!("purple")),
            "riskAssessment.maxRiskLevel: unknown level \"purple\"",
        ),
        (with("/riskAssessment/maxRiskLevel", json!(3)), "riskAssessment.maxRiskLevel: invalid type: integer `3`"),
        (with("/riskAssessment/hasDangerousDriving", json!("no")), "riskAssessment.hasDangerousDriving: invalid type"),
        (with("/riskAssessment", json!({})), "riskAssessment: missing field `maxRiskLevel`"),
        (with("/trafficGroups", json!({})), "trafficGroups: expected an array"),
        (with("/timestamp", json!(null)), "timestamp: expected a text or a number"),
        (with("/llmLatency", json!("slow")), "llmLatency: expected a number or null"),
        (with("/llmModel", json!([])), "llmModel: expected a text or null"),
        (with("/cameraId", json!("")), "cameraId: expected 1 to 128 bytes"),
        (with("/cameraId", json!("a\nb")), "cameraId: expected 1 to 128 bytes"),
        (with("/cameraId", json!("x".repeat(129))), "cameraId: expected 1 to 128 bytes"),
        (with("/cameraId", json!(-1)), "cameraId: expected a text or a whole number"),
        (with("/requestId", json!(true)), "requestId: expected a text or a whole number"),
        (without("cameraId"), "missing field `cameraId`"),
        (without("trafficGroups"), "missing field `trafficGroups`"),
        (json!(7), "invalid type: integer `7`, expected struct Assessment"),
    ];
    for (assessment, expected) in cases {
        let reason = reason(&assessment);
        assert!(reason.starts_with(expected), "{reason:?} does not begin with {expected:?}");
    }
    assert!(parse(b"{\"cameraId\":").expect_err("it is cut off").starts_with("cameraId: EOF while parsing"));
    assert!(parse(b"\xff").is_err());
}

#[test]
fn a_malformed_detection_is_named() {
    let bytes = assessment().to_string().into_bytes();
    let parsed = parse(&bytes).expect("it is well-formed");
    let reason = parsed.result(Some(b"{\"detectedObjects\":7}")).expect_err("it is malformed");
    assert!(reason.starts_with("detection:r-1: detectedObjects: expected an array"), "{reason}");
}
