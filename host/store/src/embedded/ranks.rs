//! Ranges by index with negative numbers from the end, as lists and sorted sets have them.

use std::ops::Range;

/// The indexes from `start` to `stop`, both included, of something with `length` members; empty where none are meant.
pub(super) fn ranks(start: i64, stop: i64, length: usize) -> Range<usize> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let from_the_end = |index: i64| if index < 0 { index.saturating_add(length) } else { index };
    let first = from_the_end(start).max(0);
    let behind = from_the_end(stop).saturating_add(1).min(length);
    match (usize::try_from(first), usize::try_from(behind)) {
        (Ok(first), Ok(behind)) if first < behind => first..behind,
        _ => 0..0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn extremes() {
        assert_eq!(ranks(0, -1, 3), 0..3);
        assert_eq!(ranks(i64::MIN, i64::MAX, 3), 0..3);
        assert_eq!(ranks(-1, -1, 3), 2..3);
        assert_eq!(ranks(3, 9, 3), 0..0);
        assert_eq!(ranks(2, 1, 3), 0..0);
        assert_eq!(ranks(0, -4, 3), 0..0);
        assert_eq!(ranks(0, -1, 0), 0..0);
    }

    proptest! {
        #[test]
        fn holds_exactly_the_indexes_between(start in -12_i64..12, stop in -12_i64..12, length in 0_usize..8) {
            let end = length as i64;
            let absolute = |index: i64| if index < 0 { index + end } else { index };
            let expected: Vec<usize> = (0..length)
                .filter(|&index| absolute(start) <= index as i64 && index as i64 <= absolute(stop))
                .collect();
            prop_assert_eq!(ranks(start, stop, length).collect::<Vec<_>>(), expected);
        }
    }
}
