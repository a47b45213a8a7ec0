//! Sorted sets: members ordered by score, and by their bytes where scores are equal.
//!
//! A range by rank walks from the nearer end, so it takes time in proportion to the rank.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::ranks::ranks;
use crate::Scored;

/// A score in its order; the two zeros are equal. Never NaN: [`Sorted::add`] is not called with one.
#[derive(Debug, Clone, Copy)]
struct Score(f64);

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.partial_cmp(&other.0).unwrap_or(Ordering::Equal)
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Score {}

/// A sorted set.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sorted {
    /// Each member's score.
    scores: HashMap<Arc<str>, f64>,
    /// All members in their order.
    ranked: BTreeSet<(Score, Arc<str>)>,
}

impl Sorted {
    /// Number of members.
    pub(super) fn len(&self) -> usize {
        self.scores.len()
    }

    /// The score of a member.
    pub(super) fn score(&self, member: &str) -> Option<f64> {
        self.scores.get(member).copied()
    }

    /// Adds a member, or gives it a new score, which must not be NaN.
    pub(super) fn add(&mut self, member: &str, score: f64) {
        let name = match self.scores.get_key_value(member) {
            // Redis keeps the sign of a zero when a member gets the other zero.
            Some((_, &old)) if old == score => return,
            Some((name, &old)) => {
                let name = Arc::clone(name);
                self.ranked.remove(&(Score(old), Arc::clone(&name)));
                name
            }
            None => Arc::from(member),
        };
        self.ranked.insert((Score(score), Arc::clone(&name)));
        self.scores.insert(name, score);
    }

    /// Removes a member where it is there.
    pub(super) fn remove(&mut self, member: &str) {
        if let Some((name, score)) = self.scores.remove_entry(member) {
            self.ranked.remove(&(Score(score), name));
        }
    }

    /// Removes all members with scores between two, both included.
    pub(super) fn remove_by_score(&mut self, min: f64, max: f64) {
        let leaving: Vec<Arc<str>> = self.between(min, max).map(|(_, member)| Arc::clone(member)).collect();
        leaving.iter().for_each(|member| self.remove(member));
    }

    /// Members by rank, both ends included; `reverse` counts and answers from the highest score down.
    pub(super) fn by_rank(&self, start: i64, stop: i64, reverse: bool) -> Vec<Scored> {
        let range = ranks(start, stop, self.len());
        let from_the_other_end = self.len() - range.end;
        // The nearer end: walking there, then turning round, costs less than skipping over most of the set.
        if range.start <= from_the_other_end {
            walk(self.ranked.iter(), reverse, range.start, range.len())
        } else {
            let mut members = walk(self.ranked.iter(), !reverse, from_the_other_end, range.len());
            members.reverse();
            members
        }
    }

    /// Up to `count` members with scores between two, both included, lowest first.
    pub(super) fn by_score(&self, min: f64, max: f64, count: usize) -> Vec<Scored> {
        self.between(min, max).take(count).map(scored).collect()
    }

    fn between(&self, min: f64, max: f64) -> impl Iterator<Item = &(Score, Arc<str>)> {
        self.ranked.range((Score(min), Arc::from(""))..).take_while(move |(score, _)| *score <= Score(max))
    }
}

fn walk<'a>(
    members: impl DoubleEndedIterator<Item = &'a (Score, Arc<str>)>,
    reverse: bool,
    skip: usize,
    count: usize,
) -> Vec<Scored> {
    if reverse {
        members.rev().skip(skip).take(count).map(scored).collect()
    } else {
        members.skip(skip).take(count).map(scored).collect()
    }
}

fn scored((score, member): &(Score, Arc<str>)) -> Scored {
    Scored { member: member.as_ref().to_owned(), score: score.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(members: &[Scored]) -> Vec<&str> {
        members.iter().map(|scored| scored.member.as_str()).collect()
    }

    #[test]
    fn equal_scores_are_in_the_order_of_their_bytes() {
        let mut sorted = Sorted::default();
        for (member, score) in [("b", 1.0), ("a", 1.0), ("é", 1.0), ("z", -1.0), ("B", 1.0)] {
            sorted.add(member, score);
        }
        assert_eq!(names(&sorted.by_rank(0, -1, false)), ["z", "B", "a", "b", "é"]);
        assert_eq!(names(&sorted.by_rank(0, 1, true)), ["é", "b"]);
        assert_eq!(names(&sorted.by_score(f64::NEG_INFINITY, 0.0, 9)), ["z"]);
        sorted.add("a", f64::INFINITY);
        assert_eq!(names(&sorted.by_score(1.5, f64::INFINITY, 9)), ["a"]);
        sorted.remove_by_score(1.0, 1.0);
        assert_eq!(names(&sorted.by_rank(0, -1, false)), ["z", "a"]);
        assert!(sorted.by_score(1.0, -1.0, 9).is_empty());
    }

    proptest! {
        #[test]
        fn ranges_agree_with_a_sorted_vector(
            added in prop::collection::vec(("[a-d]", -2_i8..2), 0..12), start in -6_i64..6, stop in -6_i64..6, reverse: bool,
        ) {
            let mut sorted = Sorted::default();
            let mut expected: Vec<(i8, String)> = Vec::new();
            for (member, score) in added {
                sorted.add(&member, f64::from(score));
                expected.retain(|(_, other)| *other != member);
                expected.push((score, member));
            }
            expected.sort();
            if reverse {
                expected.reverse();
            }
            let range = ranks(start, stop, expected.len());
            let expected: Vec<&str> = expected[range].iter().map(|(_, member)| member.as_str()).collect();
            let found = sorted.by_rank(start, stop, reverse);
            prop_assert_eq!(names(&found), expected);
        }
    }
}
