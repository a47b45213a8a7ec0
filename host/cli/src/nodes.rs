//! `sandbar nodes`: which hosts the fleet has, and what they cannot run.

use clap::Args;

use super::Global;
use super::exit::{Exit, Failure};
use super::fleet::{self, FleetAdmin};
use super::screen::Screen;
use sandbar_fleet::Node;

/// What `sandbar nodes` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {}

/// Lists the hosts.
pub(super) async fn run(_: &Arguments, global: &Global, screen: &Screen) -> Result<Exit, Failure> {
    let admin = FleetAdmin::open("nodes", global).await?;
    let nodes = admin.fleet.nodes().await.map_err(|error| Failure::fleet("list the hosts", &error))?;
    for node in &nodes {
        screen.result(node, || page(node))?;
    }
    if nodes.is_empty() {
        screen.note("no host has sent a heartbeat lately");
    }
    Ok(Exit::Done)
}

fn page(node: &Node) -> String {
    let Node { host, machine, pid, listen, program, started_ms, seen_ms, plugins, faults, alive } = node;
    let listen = listen.as_ref().map_or(String::new(), |listen| format!("  http://{listen}"));
    let state = if *alive { "alive".to_owned() } else { format!("stopped, last seen {}", fleet::time(*seen_ms)) };
    let host = fleet::host(host, machine);
    let started = fleet::time(*started_ms);
    let mut lines =
        vec![format!("{host}  pid {pid}  {state}{listen}  plugins {plugins}  sandbar {program}  since {started}")];
    lines.extend(faults.iter().map(|fault| format!("  {}", fault.escape_debug())));
    lines.join("\n")
}
