//! What other clients may have put into the store or a header is read or refused: holders of locks, ids, tokens.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sandbar_core::token::Presented;
use sandbar_store::{EntryId, Holder};

fuzz_target!(|bytes: &[u8]| {
    let _ = Holder::parse(bytes);
    let _ = Presented::parse(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(id) = text.parse::<EntryId>() {
        assert_eq!(id.to_string().parse::<EntryId>().ok(), Some(id));
    }
});
