//! Hashes, sets, sorted sets and lists: what groupers, histories and registries are made of.
//!
//! Reads answer what the store holds; writes that this call has gathered are not seen. Reads of a whole collection
//! answer `limit` where it has more than 10,000 members. A missing key is an empty collection. A write to a key of
//! another kind is dropped from the commit, and its event is dead-lettered. Functions have the errors that all have
//! (`denied`, `unavailable` and their like), reads `wrong-type` as well, and `invalid` for a number of arguments
//! out of bounds.

mod hash;
mod list;
mod set;
mod sorted;

pub use hash::{hash_add, hash_delete, hash_get, hash_get_all, hash_get_many, hash_length, hash_set};
pub use list::{End, list_length, list_push, list_range, list_remove};
pub use set::{set_add, set_contains, set_members, set_remove, set_size};
pub use sorted::{
    Scored, sorted_add, sorted_range, sorted_range_by_score, sorted_remove, sorted_remove_by_score, sorted_score,
    sorted_size,
};

/// Borrows texts as the host takes them.
fn texts<S: AsRef<str>>(texts: &[S]) -> Vec<&str> {
    texts.iter().map(AsRef::as_ref).collect()
}
