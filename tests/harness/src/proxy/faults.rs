//! Which faults happen, drawn from a seeded generator. Pure.

use std::ops::Range;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

/// How often each fault happens: a probability for each piece of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// The connection is cut and nothing is forwarded.
    pub cut: f64,
    /// A part of the request is forwarded, then the connection is cut.
    pub tear: f64,
    /// The request is carried out, its reply is dropped and the connection is cut.
    pub lose_reply: f64,
    /// The client is cut off at once; the request reaches the server later, after `late_for`.
    pub late: f64,
    /// The request is held until the client gives up (or [`Faults::PATIENCE`] is over); it reaches the server
    /// after another `late_for`.
    pub stall: f64,
    /// The request is held for `delay_for`, then passes.
    pub delay: f64,
    /// How long late requests stay under way.
    pub late_for: Range<Duration>,
    /// How long delayed requests are held.
    pub delay_for: Range<Duration>,
    /// Spoils only requests that contain these bytes; all where none.
    pub only: Option<Vec<u8>>,
}

/// What becomes of one piece of a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    Pass,
    Delay(Duration),
    Cut,
    /// Forward so many bytes, then cut.
    Tear(usize),
    LoseReply,
    Late(Duration),
    Stall(Duration),
}

impl Faults {
    /// How long a stalled request waits for its client to give up.
    pub const PATIENCE: Duration = Duration::from_secs(30);

    /// No faults.
    pub fn none() -> Self {
        Self {
            cut: 0.0,
            tear: 0.0,
            lose_reply: 0.0,
            late: 0.0,
            stall: 0.0,
            delay: 0.0,
            late_for: Duration::from_millis(1)..Duration::from_millis(50),
            delay_for: Duration::from_millis(1)..Duration::from_millis(10),
            only: None,
        }
    }

    /// Cuts, lost replies and late deliveries of requests that contain `only`, each with this probability.
    pub fn lossy(rate: f64, only: &[u8]) -> Self {
        Self { cut: rate, tear: rate, lose_reply: rate, late: rate, only: Some(only.to_vec()), ..Self::none() }
    }

    /// Draws what becomes of a piece of a request. The generator moves on by the same steps whatever it draws.
    pub(super) fn draw(&self, request: &[u8], random: &mut StdRng) -> Verdict {
        let mut point = random.random::<f64>();
        let late = between(&self.late_for, random);
        let delay = between(&self.delay_for, random);
        let part = random.random_range(0..=request.len());
        let spoiled = |bytes: &[u8]| request.windows(bytes.len()).any(|window| window == bytes);
        if !self.only.as_deref().is_none_or(spoiled) {
            return Verdict::Pass;
        }
        let verdicts = [
            (self.cut, Verdict::Cut),
            (self.tear, Verdict::Tear(part)),
            (self.lose_reply, Verdict::LoseReply),
            (self.late, Verdict::Late(late)),
            (self.stall, Verdict::Stall(late)),
            (self.delay, Verdict::Delay(delay)),
        ];
        for (probability, verdict) in verdicts {
            if point < probability {
                return verdict;
            }
            point -= probability;
        }
        Verdict::Pass
    }
}

fn between(range: &Range<Duration>, random: &mut StdRng) -> Duration {
    range.start + range.end.saturating_sub(range.start).mul_f64(random.random::<f64>())
}
