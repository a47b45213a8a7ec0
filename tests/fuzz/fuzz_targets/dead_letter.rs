//! Whatever fields a stream of dead letters holds, reading them does not panic, and an event comes back as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sandbar_store::Field;
use sandbar_store::dead_letter::{original, own, source_id, value};

fuzz_target!(|pairs: Vec<(String, Vec<u8>)>| {
    let fields: Vec<Field> = pairs.into_iter().map(|(name, value)| Field::new(name, value)).collect();
    let _ = (original(&fields), source_id(&fields), value(&fields, "reason"));
    assert_eq!(original(&own(&fields)), fields);
});
