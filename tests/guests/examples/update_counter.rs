//! Counts by reading and writing: without `get-for-update`, batches handled at the same time would overwrite each
//! other.
//!
//! Any event. Grants: write `total`.

use sandbar_sdk::prelude::*;

sandbar_sdk::handler!(handle);

fn handle(_: &Event) -> Result<(), Failure> {
    let total = cache::get_for_update("total")?.unwrap_or_else(|| b"0".to_vec());
    let total: u64 = String::from_utf8(total)?.parse()?;
    cache::set("total", (total + 1).to_string(), Expiry::Never)?;
    Ok(())
}
