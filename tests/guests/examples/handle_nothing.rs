//! Does nothing with its events: what is left is the cost of delivering them.

sandbar_sdk::handler!(|_: &sandbar_sdk::Event| Ok(()));
