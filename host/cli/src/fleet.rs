//! What the commands about the fleet share: the name of the operator, and how releases are shown.

use std::time::{Duration, UNIX_EPOCH};

use super::Global;
use super::exit::Failure;
use super::setup::Opened;
use sandbar_fleet::{EndReason, EndedRelease, Fleet, HostFailure, Release, ReleaseState};
use sandbar_runtime::rollout::Trial;

/// How many characters of a digest are shown.
const DIGEST_TOLD: usize = 12;

/// The fleet, and the tenant that the command is about.
pub(super) struct FleetAdmin {
    pub(super) fleet: Fleet,
    pub(super) tenant: String,
}

impl FleetAdmin {
    /// Connects to the fleet's store.
    pub(super) async fn open(command: &str, global: &Global) -> Result<Self, Failure> {
        let Opened { setup, store } = Opened::shared(command, global).await?;
        let fleet = Fleet::new(store, &setup.config.fleet.prefix);
        Ok(Self { fleet, tenant: setup.tenant().name.clone() })
    }
}

/// Who it is that asks: what they say, else the user of the system.
pub(super) fn who(said: Option<String>) -> String {
    said.or_else(|| std::env::var("USER").ok()).filter(|who| !who.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

/// A release in a few words.
pub(super) fn release(release: &Release) -> String {
    let Release { number, digest, time_ms, by, .. } = release;
    format!("#{number} {} of {} by {}", short(digest), time(*time_ms), by.escape_debug())
}

/// The beginning of a digest.
pub(super) fn short(digest: &str) -> &str {
    digest.get(..DIGEST_TOLD).unwrap_or(digest)
}

/// How a release is tried.
pub(super) fn trial(trial: Trial) -> String {
    match trial {
        Trial::Shadow => "as a shadow".to_owned(),
        Trial::Canary { percent } => format!("on {percent} % of the calls"),
    }
}

/// A release that is over, in a line.
pub(super) fn past(past: &EndedRelease) -> String {
    let why = match &past.why {
        EndReason::Replaced { by } => format!("replaced by {}", by.escape_debug()),
        EndReason::RolledBack { by, reason } => format!("rolled back by {}{}", by.escape_debug(), colon(reason)),
        EndReason::FailedProbation { host, reason, events } => {
            let events = if events.is_empty() { String::new() } else { format!(" (events {})", events.join(", ")) };
            format!("taken back by host {host}{}{}", colon(reason), events.escape_debug())
        }
        EndReason::Failed { hosts } => {
            let hosts: Vec<String> =
                hosts.iter().map(|HostFailure { host, reason }| format!("host {host}: {}", line(reason))).collect();
            format!("not loaded{}", if hosts.is_empty() { " in time".to_owned() } else { colon(&hosts.join("; ")) })
        }
        EndReason::Cancelled { by, reason } => format!("called off by {}{}", by.escape_debug(), colon(reason)),
        EndReason::Removed { by } => format!("removed by {}", by.escape_debug()),
    };
    format!("{}, ended {}: {why}", release(&past.release), time(past.ended_ms))
}

/// The result of a release on a host.
pub(super) fn standing(standing: Option<&ReleaseState>, alive: bool) -> String {
    match standing {
        Some(ReleaseState::Good) => "runs it".to_owned(),
        Some(ReleaseState::Failed { reason }) => format!("cannot run it: {}", line(reason)),
        Some(ReleaseState::Elsewhere) => "does not have the tenant".to_owned(),
        None if alive => "has not reported yet".to_owned(),
        None => "is stopped, and follows when it is back".to_owned(),
    }
}

/// A host and its machine.
pub(super) fn host(id: &str, machine: &str) -> String {
    if machine.is_empty() { format!("host {id}") } else { format!("host {id} on {machine}") }
}

/// A time, in the notation of RFC 3339.
pub(super) fn time(ms: u64) -> String {
    // Years behind 9999 have no such form, and any client of the store can write them.
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(ms)).filter(|_| ms < 253_402_300_800_000);
    time.map_or_else(|| ms.to_string(), |time| humantime::format_rfc3339_seconds(time).to_string())
}

fn colon(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {}", line(text)) }
}

/// A text in one line, without what a terminal would obey.
fn line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join(" ").replace(char::is_control, " ")
}
