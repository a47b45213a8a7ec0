//! What two versions did differently with the same events. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::outcome::EventOutcome;
use crate::replay;
use sandbar_store::Effect;

/// What one version did, or would have done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Side {
    /// What became of each event.
    pub outcomes: Vec<EventOutcome>,
    /// What it wrote, as its commit makes it.
    pub effects: Vec<Effect>,
}

/// How two versions differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DifferenceKind {
    /// The candidate did not write what the active version wrote.
    MissingEffect,
    /// It wrote what the active version did not.
    ExtraEffect,
    /// It wrote something else to the same key.
    DifferentEffect,
    /// It answered something else of an event.
    DifferentOutcome,
    /// It failed over an event that the active version did not fail over.
    Failure,
    /// It asked something that the active version did not ask.
    OtherRead,
}

impl DifferenceKind {
    /// One word for metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::MissingEffect => "missing-effect",
            Self::ExtraEffect => "extra-effect",
            Self::DifferentEffect => "different-effect",
            Self::DifferentOutcome => "different-outcome",
            Self::Failure => "failure",
            Self::OtherRead => "other-read",
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Difference {
    /// How they differ.
    pub kind: DifferenceKind,
    /// The event of an outcome, by its place in the batch; none where it is about what the batch wrote.
    pub event: Option<usize>,
    /// What the active version did; null where it did nothing.
    pub active: Value,
    /// What the candidate did.
    pub candidate: Value,
}

/// Compares what was done with the same events. Writes are compared key by key, in their order; where outcomes differ
/// only these are reported, since the writes then differ for that reason alone.
pub fn compare(active: &Side, candidate: &Side) -> Vec<Difference> {
    let pairs = active.outcomes.iter().zip(&candidate.outcomes).enumerate();
    let outcomes: Vec<Difference> =
        pairs.filter_map(|(at, (active, candidate))| outcome(at, active, candidate)).collect();
    if !outcomes.is_empty() {
        return outcomes;
    }
    let (active, candidate) = (by_key(&active.effects), by_key(&candidate.effects));
    let mut found = Vec::new();
    for (key, candidates) in &candidate {
        let actives = active.get(key).map(Vec::as_slice).unwrap_or_default();
        let pairs = actives.iter().zip(candidates);
        found.extend(
            pairs
                .filter(|(active, candidate)| active != candidate)
                .map(|(active, candidate)| written(DifferenceKind::DifferentEffect, Some(active), Some(candidate))),
        );
        found.extend(
            candidates
                .iter()
                .skip(actives.len())
                .map(|effect| written(DifferenceKind::ExtraEffect, None, Some(effect))),
        );
    }
    for (key, actives) in &active {
        let has = candidate.get(key).map_or(0, Vec::len);
        found.extend(actives.iter().skip(has).map(|effect| written(DifferenceKind::MissingEffect, Some(effect), None)));
    }
    found
}

fn outcome(at: usize, active: &EventOutcome, candidate: &EventOutcome) -> Option<Difference> {
    let kind = match (active, candidate) {
        // Where in its code a version fails is its own affair.
        (EventOutcome::Failed(_), EventOutcome::Failed(_)) => return None,
        (active, candidate) if active == candidate => return None,
        (_, EventOutcome::Failed(_)) => DifferenceKind::Failure,
        _ => DifferenceKind::DifferentOutcome,
    };
    let shown = |outcome: &EventOutcome| serde_json::to_value(outcome).unwrap_or_default();
    Some(Difference { kind, event: Some(at), active: shown(active), candidate: shown(candidate) })
}

fn written(kind: DifferenceKind, active: Option<&Effect>, candidate: Option<&Effect>) -> Difference {
    let shown = |effect: Option<&Effect>| effect.map_or(Value::Null, replay::effect);
    Difference { kind, event: None, active: shown(active), candidate: shown(candidate) }
}

/// Writes by whether they are messages, and by key or channel.
fn by_key(effects: &[Effect]) -> BTreeMap<(bool, &str), Vec<&Effect>> {
    let mut by_key: BTreeMap<(bool, &str), Vec<&Effect>> = BTreeMap::new();
    for effect in effects {
        by_key.entry((matches!(effect, Effect::Publish { .. }), effect.key())).or_default().push(effect);
    }
    by_key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(key: &str, by: i64) -> Effect {
        Effect::Add { key: key.to_owned(), by }
    }

    fn side(effects: &[Effect]) -> Side {
        Side { outcomes: vec![EventOutcome::Done], effects: effects.to_vec() }
    }

    fn kinds(active: &Side, candidate: &Side) -> Vec<DifferenceKind> {
        compare(active, candidate).iter().map(|difference| difference.kind).collect()
    }

    #[test]
    fn each_difference_is_reported_once() {
        let active = side(&[add("a", 1), add("b", 1), add("c", 1)]);
        assert_eq!(kinds(&active, &active), []);
        assert_eq!(kinds(&active, &side(&[add("c", 1), add("a", 1), add("b", 1)])), [], "keys have no order");
        assert_eq!(kinds(&active, &side(&[add("a", 1), add("b", 2), add("c", 1)])), [DifferenceKind::DifferentEffect]);
        assert_eq!(kinds(&active, &side(&[add("a", 1), add("b", 1)])), [DifferenceKind::MissingEffect]);
        assert_eq!(kinds(&side(&[]), &active).len(), 3);
        let message = Effect::Publish { channel: "a".to_owned(), payload: "x".into() };
        let with = side(&[add("a", 1), add("b", 1), add("c", 1), message]);
        assert_eq!(kinds(&active, &with), [DifferenceKind::ExtraEffect], "a channel is no key");
        let message = || Effect::Publish { channel: "a".to_owned(), payload: "x".into() };
        assert_eq!(kinds(&side(&[message(), add("a", 1)]), &side(&[add("a", 1), message()])), [], "they have no order");
    }

    #[test]
    fn outcomes_explain_the_rest() {
        let active = side(&[add("a", 1)]);
        let of = |outcome: EventOutcome| Side { outcomes: vec![outcome], effects: Vec::new() };
        assert_eq!(kinds(&active, &of(EventOutcome::Failed("trap".to_owned()))), [DifferenceKind::Failure]);
        assert_eq!(kinds(&active, &of(EventOutcome::Retry(None))), [DifferenceKind::DifferentOutcome]);
        let (here, there) = (of(EventOutcome::Failed("here".to_owned())), of(EventOutcome::Failed("there".to_owned())));
        assert_eq!(kinds(&here, &there), []);
        assert_eq!(kinds(&here, &active), [DifferenceKind::DifferentOutcome], "it does what the active one fails over");
    }
}
