//! A source and nothing else: the value of a key is the key in upper case, or nothing for keys that end with `?`.
//!
//! Grants: write the keys that it loads.

use sandbar_sdk::prelude::*;

fn load(key: &str) -> Result<Option<String>, Failure> {
    Ok((!key.ends_with('?')).then(|| key.to_uppercase()))
}

sandbar_sdk::loader!(load);
