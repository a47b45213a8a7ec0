//! `sandbar-bench`: what the sandbox costs, measured beside native and plain Redis clients that do the same work.
//!
//! `cargo run --release -p sandbar-bench -- stream` (or `queue`, `lock`, `cache`, `idle`) measures and prints a
//! table, a note of what limits it, and as its last line one JSON object. Progress goes to standard error. With
//! `--short` it only shows that everything works.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program that prints")]

mod cache;
mod child;
mod cpu;
mod deploy;
mod idle;
mod latency;
mod lock;
mod memory;
mod native;
mod neighbour;
mod plugin;
mod queue;
mod raw;
mod refusals;
mod replace;
mod report;
mod stand;
mod tenants;
mod throughput;
mod variant;
mod workload;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use report::Report;
use variant::Variant;
use workload::{Settings, Workload};

/// Rounds, events and seconds of `--short`.
const SHORT: (u32, u32, u32) = (1, 2_000, 1);

/// Measures Sandbar.
#[derive(Debug, Parser)]
#[command(name = "sandbar-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Events of a stream to results: events/s, CPU and latency of the plugin, of a native consumer, of raw commands,
    /// and of a Python program that makes one call at a time
    Stream(Stream),
    /// What a host with many plugins costs while nothing happens
    Idle(idle::Idle),
    /// A host with many plugins, in a process of its own; the benchmark starts it
    #[command(hide = true)]
    IdleWork {
        /// Its server
        #[arg(long)]
        url: String,
        /// How many plugins
        #[arg(long)]
        plugins: u32,
    },
    /// A host with many tenants, a plugin each: memory, start, and the latency of one of them
    Tenants(tenants::Tenants),
    /// A host with many tenants, in a process of its own; the benchmark starts it
    #[command(hide = true)]
    TenantsWork(tenants::Work),
    /// The latency of a tenant beside one that does everything that it should not
    Neighbour(neighbour::Neighbour),
    /// The host of both, in a process of its own; the benchmark starts it
    #[command(hide = true)]
    NeighbourWork {
        /// Its server
        #[arg(long)]
        url: String,
    },
    /// Versions that are replaced under a steady load: the longest pauses, and memory
    Replace(replace::Replace),
    /// The host of these, in a process of its own; the benchmark starts it
    #[command(hide = true)]
    ReplaceWork(replace::Work),
    /// How soon three hosts run what is deployed
    Deploy(deploy::Deploy),
    /// Jobs of a queue with a handler that does nothing: jobs/s of the queue trigger and of BullMQ, by concurrency
    Queue(queue::Queue),
    /// The queue trigger, in a process of its own; the benchmark starts it
    #[command(hide = true)]
    QueueWork(queue::Work),
    /// Locks: how soon the next waiter has a lock that was given back, and what waiting costs
    Lock(lock::Lock),
    /// Tiered reads: from memory inside the host and by a plugin, from the store, and how soon a write on another
    /// host is seen
    Cache(cache::Cache),
    /// Tokens that are refused: whether the time that it takes reveals something about them
    Refusals(refusals::Refusals),
    /// One variant, in a process of its own; the benchmark starts it
    #[command(hide = true)]
    Work {
        /// What works
        variant: Variant,
        /// Its server
        #[arg(long)]
        url: String,
        #[command(flatten)]
        settings: Settings,
    },
}

/// What `stream` takes.
#[derive(Debug, clap::Args)]
struct Stream {
    /// Interleaved rounds; medians are of them
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How long the latency is measured in each round, in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3600))]
    latency_seconds: u32,
    /// One round of few events, to see that everything works; its numbers mean little
    #[arg(long, conflicts_with_all = ["rounds", "latency_seconds", "events"])]
    short: bool,
    /// Only these variants
    #[arg(long, value_delimiter = ',', default_values_t = Variant::ALL)]
    only: Vec<Variant>,
    #[command(flatten)]
    settings: Settings,
}

fn main() -> ExitCode {
    if std::env::args_os().next().is_some_and(|name| name == deploy::PROGRAM) {
        return sandbar_cli::main();
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:?}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    match Arguments::parse().command {
        Command::Stream(stream) => measure(stream),
        Command::Idle(idle) => idle::measure(&idle),
        Command::Tenants(tenants) => tenants.measure(),
        Command::TenantsWork(work) => work.run(),
        Command::Neighbour(neighbour) => neighbour.measure(),
        Command::NeighbourWork { url } => neighbour::work(&url),
        Command::Replace(replace) => replace.measure(),
        Command::ReplaceWork(work) => work.run(),
        Command::Deploy(deploy) => deploy.measure(),
        Command::IdleWork { url, plugins } => idle::work(&url, plugins),
        Command::Queue(queue) => queue.measure(),
        Command::QueueWork(work) => work.run(),
        Command::Lock(lock) => lock.measure(),
        Command::Cache(cache) => cache::measure(cache),
        Command::Refusals(refusals) => refusals.measure(),
        Command::Work { variant, url, settings } => variant.work(&url, &settings),
    }
}

fn measure(mut stream: Stream) -> Result<()> {
    if stream.short {
        (stream.rounds, stream.settings.events, stream.latency_seconds) = SHORT;
    }
    let mut variants = stream.only;
    let missing = variants.contains(&Variant::Python).then(variant::missing_python).flatten();
    if let Some(reason) = &missing {
        println!("python: skipped, {reason}");
        variants.retain(|variant| *variant != Variant::Python);
    }
    let workload = Workload::new(&stream.settings);
    let mut report = Report::new(&stream.settings, &workload, stream.rounds);
    for round in 0..stream.rounds as usize {
        // Each round begins with another variant, so that none always follows the same one.
        for variant in variants.iter().copied().cycle().skip(round % variants.len().max(1)).take(variants.len()) {
            let run = throughput::measure(variant, &workload, &stream.settings)?;
            eprintln!("round {}: {variant}: {run}", round + 1);
            report.add_run(variant, run);
        }
        for variant in variants.iter().copied().filter(|variant| variant.has_latency()) {
            let latency = latency::measure(variant, &workload, &stream.settings, stream.latency_seconds)?;
            eprintln!("round {}: {variant}: {latency}", round + 1);
            report.add_latency(variant, latency);
        }
    }
    report.print()
}
