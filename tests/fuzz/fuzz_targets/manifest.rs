//! `plugin.toml` is read or refused, and the times of its schedules advance.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sandbar_core::manifest::{Manifest, Trigger};

fuzz_target!(|text: &str| {
    let Ok(manifest) = Manifest::parse(text) else { return };
    for trigger in &manifest.triggers {
        if let Trigger::Schedule(schedule) = trigger {
            let times = schedule.times().expect("a manifest that was read has times");
            for ms in [0, 1_795_000_000_000, u64::MAX] {
                assert!(times.after(ms).is_none_or(|next| next > ms));
            }
        }
    }
});
