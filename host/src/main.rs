//! The binary `sandbar`.

fn main() {}
