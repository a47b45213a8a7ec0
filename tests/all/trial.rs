//! Versions that are tried: the health authenticator, canaries, shadows, recordings and their replay.

mod against;
mod health;
mod reads;
mod recordings;
mod replay;
mod shadow;
mod shares;

use sandbar_core::manifest::Manifest;
use sandbar_tests::{TestHost, components, open_manifest};

/// The component under another digest, with the same behaviour.
fn version(number: u64) -> Vec<u8> {
    let mut bytes = std::fs::read(components::HANDLE_TRIAL).unwrap();
    let name = format!("version-{number:04}");
    bytes.extend([0, u8::try_from(name.len() + 1).unwrap(), u8::try_from(name.len()).unwrap()]);
    bytes.extend(name.as_bytes());
    bytes
}

/// A manifest whose plugin differs from itself in this word for each event whose number is a multiple of `every`;
/// `trigger` are more lines of its trigger, `rest` what follows.
fn differing(differs: &str, every: u64, trigger: &str, rest: &str) -> String {
    let config = format!("[config]\ndiffers = \"{differs}\"\nevery = \"{every}\"");
    open_manifest(trigger, &format!("{rest}\n{config}"))
}

/// One that does not.
fn plain(trigger: &str, rest: &str) -> String {
    open_manifest(trigger, rest)
}

fn parsed(manifest: &str) -> Manifest {
    Manifest::parse(manifest).unwrap()
}

/// Appends the events of these numbers.
async fn feed(test: &TestHost, numbers: std::ops::Range<u64>) {
    let numbers: Vec<String> = numbers.map(|n| n.to_string()).collect();
    let events: Vec<[(&str, &str); 2]> = numbers.iter().map(|n| [("key", "a"), ("n", n.as_str())]).collect();
    test.feed(&events.iter().map(|event| &event[..]).collect::<Vec<_>>()).await;
}
