//! `refusals`: whether the time that it takes to refuse a token reveals something about it.
//!
//! Tokens that are wrong in different places are checked in turns, many thousand times each, and the times are
//! compared as dudect (Reparaz, Balasch, Verbauwhede: "Dude, is my code constant time?", 2016) does: Welch's t-test
//! of what is left below a quantile. A secret whose first digits are right must take as long as one that is wrong
//! from the first digit on.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rand::seq::SliceRandom;
use sandbar_core::token::{Minted, Role, Scope};
use sandbar_fleet::authenticator::Authenticator;
use sandbar_fleet::token_registry::Registry;
use sandbar_store::embedded::Embedded;
use serde_json::json;

use crate::report::{median, rounded};

/// Checks of each kind that are not counted: caches and branches settle.
const WARM_UP: usize = 1_000;
/// The share of times that are compared: those above are interruptions.
const KEPT: f64 = 0.9;
/// From this on a difference counts as found.
const T_MAX: f64 = 4.5;

/// What `refusals` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Refusals {
    /// Checks of each kind, in each round
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(2_000..=10_000_000))]
    checks: u32,
    /// Rounds; medians are of them
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
}

/// One kind of header, with the times that its checks took, in nanoseconds.
struct Kind {
    name: &'static str,
    header: Option<Vec<u8>>,
    times: Vec<f64>,
}

impl Refusals {
    /// Measures, and prints a table and one JSON object.
    pub(crate) fn measure(&self) -> Result<()> {
        tokio::runtime::Builder::new_current_thread().build()?.block_on(self.run())
    }

    async fn run(&self) -> Result<()> {
        let registry = Registry::new(Arc::new(Embedded::new()), "");
        let token = registry.create("ci", Scope::Tenant("acme".to_owned()), Role::Operate, None).await?;
        let authenticator = Authenticator::new([], registry);
        let mut kinds = kinds(&token)?;
        let (mut ts, mut medians) = (Vec::new(), vec![Vec::new(); kinds.len()]);
        for round in 1..=self.rounds {
            measure(&authenticator, &token, &mut kinds, self.checks as usize).await?;
            for (kind, medians) in kinds.iter().zip(&mut medians) {
                medians.push(median(kind.times.clone()));
            }
            let [.., early, late] = kinds.as_slice() else { continue };
            ts.push(welch(&early.times, &late.times));
            eprintln!("round {round}: t = {:.2}", ts.last().unwrap_or(&f64::NAN));
        }
        println!("checks of a token that is refused, medians of {} rounds of {} checks", self.rounds, self.checks);
        println!("| what comes | µs |\n| --- | --- |");
        for (kind, medians) in kinds.iter().zip(&medians) {
            println!("| {} | {:.2} |", kind.name, median(medians.clone()) / 1e3);
        }
        let t = median(ts);
        let verdict = if t.abs() < T_MAX { "no difference" } else { "a difference" };
        println!("\n{verdict} between secrets that are wrong early and late: t = {t:.2}, found from {T_MAX} on");
        println!("\n{}", json!({ "checks": self.checks, "rounds": self.rounds, "t": rounded(t) }));
        Ok(())
    }
}

/// The last two differ in nothing but where the secret is wrong.
fn kinds(token: &Minted) -> Result<Vec<Kind>> {
    let right = format!("Bearer {}", token.token.expose());
    let secret = right.rfind('_').context("a token has a secret")? + 1;
    let wrong_at = |at: usize| {
        let mut bytes = right.clone().into_bytes();
        if let Some(digit) = bytes.get_mut(at) {
            // Of the same kind, since the sender of a digit knows its kind.
            *digit = match *digit {
                b'9' => b'0',
                b'f' => b'a',
                other => other + 1,
            };
        }
        Some(bytes)
    };
    let unknown = format!("Bearer {}", Minted::new().token.expose()).into_bytes();
    let kind = |name, header| Kind { name, header, times: Vec::new() };
    Ok(vec![
        kind("no header", None),
        kind("no token", Some(b"Bearer x".to_vec())),
        kind("an unknown id", Some(unknown)),
        kind("the secret is wrong in its first digit", wrong_at(secret)),
        kind("the secret is wrong in its last digit", wrong_at(right.len() - 1)),
    ])
}

/// Checks all kinds in an order by chance, each right after the token itself, so that all find the caches alike.
async fn measure(authenticator: &Authenticator, token: &Minted, kinds: &mut [Kind], checks: usize) -> Result<()> {
    let mut kinds: Vec<&mut Kind> = kinds.iter_mut().collect();
    kinds.iter_mut().for_each(|kind| kind.times = Vec::with_capacity(checks));
    let right = format!("Bearer {}", token.token.expose()).into_bytes();
    let (mut random, mut place) = (rand::rng(), Vec::with_capacity(2 * right.len()));
    for number in 0..checks + WARM_UP {
        kinds.shuffle(&mut random);
        for kind in kinds.iter_mut() {
            ensure!(authenticator.check(Some(&right)).await.is_ok(), "the token itself is refused");
            // All lie in one place, since where the bytes lie shows in the time as well.
            place.clear();
            place.extend_from_slice(kind.header.as_deref().unwrap_or_default());
            let header = kind.header.is_some().then_some(&place[..]);
            let begun = Instant::now();
            let refused = black_box(authenticator.check(black_box(header)).await);
            let took = begun.elapsed();
            ensure!(refused.is_err(), "{} is let in", kind.name);
            if number >= WARM_UP {
                kind.times.push(took.as_nanos() as f64);
            }
        }
    }
    Ok(())
}

/// Welch's t of the times below the quantile [`KEPT`] of both together.
fn welch(a: &[f64], b: &[f64]) -> f64 {
    let mut all: Vec<f64> = a.iter().chain(b).copied().collect();
    all.sort_by(f64::total_cmp);
    let most = all.get((all.len() as f64 * KEPT) as usize).copied().unwrap_or(f64::INFINITY);
    let of = |times: &[f64]| {
        let kept: Vec<f64> = times.iter().copied().filter(|time| *time <= most).collect();
        let count = kept.len() as f64;
        let mean = kept.iter().sum::<f64>() / count;
        let variance = kept.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    };
    let ((mean_a, error_a), (mean_b, error_b)) = (of(a), of(b));
    (mean_a - mean_b) / (error_a + error_b).sqrt()
}
