//! Prints made-up camera results as JSON lines, one entry of `risk-assessment-results` a line.

use std::io::{self, BufWriter, ErrorKind, Write};

use anyhow::Result;
use clap::Parser;
use sandbar_examples::traffic::{Generator, generate};

/// Prints made-up camera results as JSON lines, one entry of `risk-assessment-results` a line.
#[derive(Debug, Parser)]
struct Options {
    /// The same seed gives the same lines.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Cameras, named 1 to this number.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    cameras: u32,
    /// Lines; 0 for no end.
    #[arg(long, default_value_t = 1_000)]
    count: u64,
    /// The share of lines that are malformed, 0 to 1.
    #[arg(long, default_value_t = 0.01)]
    malformed_share: f64,
    /// The share of well-formed lines that are alerts, 0 to 1.
    #[arg(long, default_value_t = 0.05)]
    high_risk_share: f64,
    /// The most objects in a picture; 600 make results of 50 KB in the mean.
    #[arg(long, default_value_t = 24)]
    objects_max: u32,
}

fn main() -> Result<()> {
    let Options { seed, cameras, count, malformed_share, high_risk_share, objects_max } = Options::parse();
    let generator = Generator::new(generate::Options { seed, cameras, malformed_share, high_risk_share, objects_max });
    let count = if count == 0 { usize::MAX } else { usize::try_from(count)? };
    let mut out = BufWriter::new(io::stdout().lock());
    for entry in generator.take(count) {
        match writeln!(out, "{}", entry.to_line()) {
            // The reader has enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            result => result?,
        }
    }
    Ok(out.flush()?)
}
