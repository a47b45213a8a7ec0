//! A handler and a schedule in one component.
//!
//! An event adds 1 to `events`, a tick adds 1 to `ticks`. Grants: write both.

use sandbar_sdk::prelude::*;

sandbar_sdk::handler!(|_: &Event| Ok::<(), Failure>(cache::add("events", 1)?));
sandbar_sdk::schedule!(|_: &Instant| cache::add("ticks", 1));
