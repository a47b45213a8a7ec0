//! Publishes the field `t` of each event to the channel `echo`.
//!
//! Grants: publish `echo`.

use sandbar_sdk::prelude::*;

sandbar_sdk::handler!(|event: &Event| Ok::<(), Failure>(pubsub::publish("echo", event.bytes("t")?)?));
