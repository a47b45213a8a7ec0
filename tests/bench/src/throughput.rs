//! How fast a variant handles a stream that is there already, and what it costs.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::child::Working;
use crate::stand::Stand;
use crate::variant::Variant;
use crate::workload::{Settings, Workload};

/// One run of a variant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// Events per second, from the start to the last acknowledgement.
    pub(crate) rate: f64,
    /// CPU of the process that works, in microseconds an event.
    pub(crate) client_us: f64,
    /// CPU of the server, in microseconds an event.
    pub(crate) server_us: f64,
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rate, client_us, server_us } = self;
        write!(f, "{rate:.0} events/s, {client_us:.1} µs of CPU an event, {server_us:.1} µs in the server")
    }
}

/// Measures a variant once and checks what it has done.
pub(crate) fn measure(variant: Variant, workload: &Workload, settings: &Settings) -> Result<Run> {
    run(variant, workload, settings).with_context(|| format!("measuring {variant}"))
}

fn run(variant: Variant, workload: &Workload, settings: &Settings) -> Result<Run> {
    let count = variant.events(settings.events) as usize;
    let mut stand = Stand::filled(workload, count)?;
    let mut working = Working::start(variant, &stand.url(), settings)?;
    let (client, server) = (working.cpu()?, stand.cpu()?);
    let begun = Instant::now();
    working.begin()?;
    stand.wait(&mut working)?;
    let took = begun.elapsed();
    let (client, server) = (working.cpu()? - client, stand.cpu()? - server);
    stand.verify(workload)?;
    let events = count as f64;
    Ok(Run {
        rate: events / took.as_secs_f64(),
        client_us: client.as_secs_f64() * 1e6 / events,
        server_us: server.as_secs_f64() * 1e6 / events,
    })
}
