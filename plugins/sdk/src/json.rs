//! JSON in and out, with errors that say where in the document they are.

use serde::Deserialize;

/// Parses a document. `T` may borrow from it (`&str`, `&RawValue`).
///
/// # Errors
///
/// A sentence that begins with the place within the document, such as `objects[3].name`, and ends with line and column.
pub fn parse<'a, T: Deserialize<'a>>(document: &'a [u8]) -> Result<T, String> {
    // Keeping track of the place costs time, so it is found only when there is something to report.
    serde_json::from_slice(document).map_err(|error| place::<T>(document).unwrap_or_else(|| error.to_string()))
}

/// Parses a second time, now keeping track of the place.
#[cold]
fn place<'a, T: Deserialize<'a>>(document: &'a [u8]) -> Option<String> {
    let mut deserializer = serde_json::Deserializer::from_slice(document);
    let error = serde_path_to_error::deserialize::<_, T>(&mut deserializer).err()?;
    let path = error.path().to_string();
    // A dot is the root of the document: then the error names the field itself, or there is none.
    (path != ".").then(|| format!("{path}: {}", error.inner()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_at_the_root_has_no_path() {
        let error = parse::<u8>(b"300").expect_err("300 is not a byte");
        assert!(error.starts_with("invalid value: integer `300`, expected u8"), "{error}");
        assert!(parse::<u8>(b"1 1").expect_err("two documents").starts_with("trailing characters"));
    }
}
