//! Effects and outcomes as JSON, for comparisons.

use serde_json::{Value, json};

use super::Recordable;
use sandbar_store::{Condition, Effect, End, Expiry, Field, PushOptions, Retention};

/// An effect as JSON: `does` is the function that makes it.
pub fn effect(effect: &Effect) -> Value {
    let mut shown = match effect {
        Effect::Set { value, expiry, condition, .. } => {
            let mut shown = json!({ "value": value.write() });
            match expiry {
                Expiry::Never => {}
                Expiry::KeepTtl => add(&mut shown, "ttl-ms", "keep"),
                Expiry::TtlMs(ms) => add(&mut shown, "ttl-ms", *ms),
            }
            match condition {
                Condition::Always => {}
                Condition::IfAbsent => add(&mut shown, "if", "absent"),
                Condition::IfPresent => add(&mut shown, "if", "present"),
            }
            shown
        }
        Effect::Delete { .. } => json!({}),
        Effect::Expire { ttl_ms, .. } => json!({ "ttl-ms": ttl_ms }),
        Effect::Add { by, .. } => json!({ "by": by }),
        Effect::Append { fields, retention, .. } => {
            let mut shown = json!({ "fields": fields.write() });
            match retention {
                Retention::Unlimited => {}
                Retention::About(length) => add(&mut shown, "about", *length),
                Retention::Exactly(length) => add(&mut shown, "exactly", *length),
                Retention::MinId(id) => add(&mut shown, "min-id", id.to_string()),
            }
            shown
        }
        Effect::Remove { ids, .. } => json!({ "ids": ids.write() }),
        Effect::Push { payloads, options: PushOptions { delay_ms, priority, deduplicate }, .. } => {
            let mut shown = json!({ "payloads": payloads.write() });
            if *delay_ms > 0 {
                add(&mut shown, "delay-ms", *delay_ms);
            }
            if *priority > 0 {
                add(&mut shown, "priority", *priority);
            }
            if let Some((id, window_ms)) = deduplicate {
                add(&mut shown, "deduplicate", json!([id, window_ms]));
            }
            shown
        }
        Effect::Publish { payload, .. } => json!({ "payload": payload.write() }),
        Effect::HashSet { fields, .. } => json!({ "fields": fields.write() }),
        Effect::HashDelete { names, .. } => json!({ "names": names }),
        Effect::HashAdd { name, by, .. } => json!({ "name": name, "by": by }),
        Effect::SetAdd { members, .. } | Effect::SetRemove { members, .. } | Effect::SortedRemove { members, .. } => {
            json!({ "members": members })
        }
        Effect::SortedAdd { members, .. } => json!({ "members": members.write() }),
        Effect::SortedRemoveByScore { min, max, .. } => json!({ "min": min.write(), "max": max.write() }),
        Effect::ListPush { end, values, keep, .. } => {
            let end = match end {
                End::Front => "front",
                End::Back => "back",
            };
            let mut shown = json!({ "end": end, "values": values.write() });
            if let Some(keep) = keep {
                add(&mut shown, "keep", *keep);
            }
            shown
        }
        Effect::ListRemove { value, .. } => json!({ "value": value.write() }),
    };
    add(&mut shown, "does", effect.name());
    add(&mut shown, "key", effect.key());
    shown
}

fn add(shown: &mut Value, name: &str, value: impl Into<Value>) {
    if let Value::Object(members) = shown {
        members.insert(name.to_owned(), value.into());
    }
}

/// The fields of an entry, as an event has them.
pub fn fields(fields: &[Field]) -> Vec<(String, bytes::Bytes)> {
    fields.iter().map(|field| (field.name.clone(), field.value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_names_what_makes_it_and_its_key() {
        let add = Effect::Add { key: "count:a".to_owned(), by: 2 };
        assert_eq!(effect(&add).to_string(), r#"{"by":2,"does":"cache.add","key":"count:a"}"#);
        let (expiry, condition) = (Expiry::TtlMs(5), Condition::IfAbsent);
        let set = Effect::Set { key: "k".to_owned(), value: vec![0xff].into(), expiry, condition };
        assert_eq!(
            effect(&set).to_string(),
            r#"{"does":"cache.set","if":"absent","key":"k","ttl-ms":5,"value":{"hex":"ff"}}"#
        );
    }
}
