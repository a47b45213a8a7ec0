//! How much CPU a process has used so far.

use std::time::Duration;

use anyhow::{Context, Result};

/// User and system time of a process and of its threads, the ended ones too. Counted in ticks, mostly of 10 ms.
pub(crate) fn used(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let ticks = ticks(&text).with_context(|| format!("{path} has an unknown form: {text}"))?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// The sum of `utime` and `stime`, which come as the 12th and 13th behind the name; that stands in brackets and may
/// itself have any character.
fn ticks(stat: &str) -> Option<u64> {
    let (_, behind) = stat.rsplit_once(')')?;
    let mut numbers = behind.split_whitespace().skip(11).map(|word| word.parse::<u64>().ok());
    Some(numbers.next()?? + numbers.next()??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_be_anything() {
        let stat = "7 (a) 1 (b) S 1 2 3 4 5 6 7 8 9 10 40 2 0 0";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn time_passes_for_this_process() {
        let before = used(std::process::id()).unwrap();
        while used(std::process::id()).unwrap() == before {}
    }
}
