//! Prints a recording of detections as JSON lines, one entry of `risk-assessment-results` a line.

use std::fs;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use sandbar_examples::traffic::{Converter, convert};

/// Prints a recording of detections as JSON lines, one entry of `risk-assessment-results` a line.
#[derive(Debug, Parser)]
struct Options {
    /// The recording: a JSON array of frames with their objects.
    recording: PathBuf,
    /// Cameras that replay it, each from its own offset.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    cameras: u32,
    /// Cuts every so-manieth line's document in half, as a broken connection would; 0 for none.
    #[arg(long, default_value_t = 0)]
    cut_every: u64,
}

fn main() -> Result<()> {
    let Options { recording, cameras, cut_every } = Options::parse();
    let bytes = fs::read(&recording).with_context(|| format!("read {}", recording.display()))?;
    let converter = Converter::parse(&bytes).with_context(|| format!("{} is no recording", recording.display()))?;
    let mut out = BufWriter::new(io::stdout().lock());
    for entry in converter.entries(&convert::Options { cameras, cut_every }) {
        match writeln!(out, "{}", entry.to_line()) {
            // The reader has enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            result => result?,
        }
    }
    Ok(out.flush()?)
}
