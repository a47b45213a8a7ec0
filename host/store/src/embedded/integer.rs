//! Integers in values, as Redis reads them: decimal, 64 bits, and in no other spelling than its own.

use bytes::Bytes;

use crate::StoreError;

/// The integer that a value spells. None for leading zeros, a plus sign, spaces, `-0` and whatever does not fit.
pub(super) fn parse(value: &[u8]) -> Option<i64> {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    match digits {
        [b'0'] if digits.len() == value.len() => Some(0),
        [b'1'..=b'9', ..] => std::str::from_utf8(value).ok()?.parse().ok(),
        _ => None,
    }
}

/// The value after an addition; a missing value counts as 0. `what` names the value in errors:
/// [`StoreError::WrongType`] where it is no integer, [`StoreError::Invalid`] on overflow.
pub(super) fn add(value: Option<&Bytes>, by: i64, what: &str) -> Result<i64, StoreError> {
    let current = match value {
        None => 0,
        Some(value) => {
            parse(value).ok_or_else(|| StoreError::WrongType(format!("{what} is not an integer of 64 bits")))?
        }
    };
    current.checked_add(by).ok_or_else(|| StoreError::Invalid(format!("adding {by} to {what} would overflow 64 bits")))
}

/// The value that spells an integer.
pub(super) fn format(integer: i64) -> Bytes {
    integer.to_string().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_other_spellings() {
        for text in ["", "-", "+1", " 1", "1 ", "01", "-0", "-01", "1.0", "0x1", "1e3", "9223372036854775808", "abc"] {
            assert_eq!(parse(text.as_bytes()), None, "`{text}`");
        }
    }

    #[test]
    fn overflow_is_not_a_wrong_type() {
        let max = format(i64::MAX);
        assert!(matches!(add(Some(&max), 1, "`n`"), Err(StoreError::Invalid(_))));
        assert!(matches!(add(Some(&"x".into()), 1, "`n`"), Err(StoreError::WrongType(_))));
        assert_eq!(add(None, i64::MIN, "`n`"), Ok(i64::MIN));
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(integer: i64) {
            prop_assert_eq!(parse(&format(integer)), Some(integer));
        }

        #[test]
        fn reads_only_what_it_writes(text in "[-+ 0-9]{0,21}") {
            if let Some(integer) = parse(text.as_bytes()) {
                prop_assert_eq!(integer.to_string(), text);
            }
        }
    }
}
