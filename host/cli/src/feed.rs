//! `sandbar feed`: JSON lines into a stream.

mod feeder;
mod line;
mod pace;
mod source;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

pub(super) use feeder::{Fed, FeedError, Target, feed};
pub(super) use source::{LineSource, Repeat};

use super::Global;
use super::exit::{Exit, Failure};
use super::screen::Screen;
use super::setup::Setup;
use super::signals;
use sandbar_core::grants::check_name;
use sandbar_store::Retention;

/// How often the bar is drawn while nothing is appended.
const BAR_PERIOD: Duration = Duration::from_millis(200);

/// What `sandbar feed` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The stream, without the tenant's prefix
    #[arg(value_name = "STREAM")]
    stream: String,
    /// JSON lines, each an object whose members become the fields of an entry: strings as they are, other values as
    /// JSON text; `-` for standard input
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// Events per second; as fast as possible by default
    #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// How often the file is fed; 0 for without end
    #[arg(long, value_name = "TIMES", default_value_t = 1)]
    repeat: u32,
    /// Pass over the first entries of the file, to go on where an earlier feed ended
    #[arg(long, value_name = "ENTRIES", default_value_t = 0)]
    skip: u64,
    /// How many entries the stream keeps, about; all by default
    #[arg(long, value_name = "ENTRIES", value_parser = clap::value_parser!(u64).range(1..))]
    max_len: Option<u64>,
}

/// What was fed.
#[derive(Debug, Serialize)]
struct Report {
    stream: String,
    events: u64,
    bytes: u64,
    seconds: f64,
}

/// Feeds the file and reports how much of it is in the stream, also after an error.
pub(super) async fn run(arguments: Arguments, global: &Global, screen: &Screen) -> Result<Exit, Failure> {
    check_name("stream's name", &arguments.stream).map_err(|error| Failure::new(Exit::Usage, error))?;
    let stop = signals::stop(screen)?;
    let setup = Setup::find(global)?;
    let (mut source, length) = open(&arguments).await?;
    let store = setup.connect_shared("feed").await?;
    let passed = source.skip(arguments.skip).await.map_err(|reason| Failure::new(Exit::Input, reason))?;
    if !passed {
        let what = format!("`{}` has fewer than {} entries: nothing was fed", arguments.file.display(), arguments.skip);
        return Err(Failure::new(Exit::Input, what));
    }
    let retention = arguments.max_len.map_or(Retention::Unlimited, Retention::About);
    let target = Target { store, stream: setup.key(&arguments.stream), retention, unread_max: None };
    let bar = bar(screen, length);
    let started = Instant::now();
    let (fed, ended) = feed(source, &target, arguments.rate, &stop, |fed| {
        bar.set_position(fed.bytes);
        bar.set_message(format!("{} events, {:.0}/s", fed.events, fed.events as f64 / started.elapsed().as_secs_f64()));
    })
    .await;
    screen.finish();
    let seconds = started.elapsed().as_secs_f64();
    let report = Report { stream: target.stream.clone(), events: fed.events, bytes: fed.bytes, seconds };
    screen.result(&report, || report.line())?;
    finish(&arguments, fed, ended)
}

async fn open(arguments: &Arguments) -> Result<(LineSource, Option<u64>), Failure> {
    let repeat = match arguments.repeat {
        0 => Repeat::Forever,
        times => Repeat::Times(times - 1),
    };
    if arguments.file.as_os_str() == "-" {
        if repeat != Repeat::Times(0) {
            return Err(Failure::new(Exit::Usage, "--repeat needs a file: standard input can be read once only"));
        }
        return Ok((LineSource::pipe(tokio::io::stdin()), None));
    }
    let cannot = |error| Failure { exit: Exit::Input, ..Failure::file("read", &arguments.file, &error) };
    let bytes = tokio::fs::metadata(&arguments.file).await.map_err(cannot)?.len();
    let source = LineSource::file(arguments.file.clone(), repeat).await.map_err(cannot)?;
    let length = (arguments.repeat > 0).then(|| bytes.saturating_mul(arguments.repeat.into()));
    Ok((source, length))
}

/// A bar over the bytes of the file; without a length it only counts.
fn bar(screen: &Screen, length: Option<u64>) -> ProgressBar {
    if !screen.is_live() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match length {
        Some(length) => (ProgressBar::new(length), "{bar:40} {percent}% {msg}, {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(BAR_PERIOD);
    screen.live(bar.clone());
    bar
}

impl Report {
    fn line(&self) -> String {
        let rate = self.events as f64 / self.seconds.max(1e-9);
        format!("{} events into `{}` in {:.1} s ({rate:.0}/s)", self.events, self.stream, self.seconds)
    }
}

/// What the end of the feed means for the process, and how to go on.
fn finish(arguments: &Arguments, fed: Fed, ended: FeedError) -> Result<Exit, Failure> {
    let file = arguments.file.display();
    let go_on = |entries: u64| format!("go on with --skip {}", arguments.skip + entries);
    let so_far = match fed.events {
        0 => "nothing was appended".to_owned(),
        events => format!("the {events} entries before that are in the stream"),
    };
    let after_repair = match arguments.skip + fed.events {
        0 => so_far.clone(),
        entries => format!("{so_far}; when that is repaired, {}", go_on(entries - arguments.skip)),
    };
    match ended {
        FeedError::Complete => Ok(Exit::Done),
        FeedError::Stopped => Ok(Exit::Interrupted),
        FeedError::Bad(reason) => Err(Failure::new(Exit::Input, format_args!("`{file}`, {reason}; {so_far}"))
            .help(format_args!("correct the line, then {}", go_on(fed.events)))),
        FeedError::Refused(error) => {
            Err(Failure::store(&format!("append to `{}`", arguments.stream), &error).help(after_repair))
        }
        FeedError::Unknown(count, error) => {
            let doing = format!("tell whether the {count} entries behind line {} were appended", fed.last_line);
            let (without, with) = (go_on(fed.events), go_on(fed.events + count as u64));
            let help = format!("look at the end of the stream: where they are missing, {without}, else {with}");
            Err(Failure::store(&doing, &error).help(help))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbar_store::StoreError;

    fn message(ended: FeedError) -> String {
        let file = PathBuf::from("events.jsonl");
        let arguments = Arguments { stream: "s".to_owned(), file, rate: None, repeat: 1, skip: 10, max_len: None };
        let fed = Fed { events: 2000, bytes: 1, last_line: 2014 };
        let failure = finish(&arguments, fed, ended).unwrap_err();
        format!("{:?}: {}\n{}", failure.exit, failure.what, failure.help.unwrap_or_default())
    }

    #[test]
    fn an_early_end_says_what_is_in_the_stream_and_how_to_go_on() {
        insta::assert_snapshot!(message(FeedError::Bad("line 2015: expected value (column 7)".to_owned())), @r#"
        Input: `events.jsonl`, line 2015: expected value (column 7); the 2000 entries before that are in the stream
        correct the line, then go on with --skip 2010
        "#);
        insta::assert_snapshot!(message(FeedError::Refused(StoreError::WrongType("`s` holds a list".to_owned()))), @r#"
        Failed: cannot append to `s`: `s` holds a list
        the 2000 entries before that are in the stream; when that is repaired, go on with --skip 2010
        "#);
        insta::assert_snapshot!(message(FeedError::Unknown(500, StoreError::TimedOut("after 5 s".to_owned()))), @r#"
        Store: cannot tell whether the 500 entries behind line 2014 were appended: the store did not answer in time: after 5 s
        look at the end of the stream: where they are missing, go on with --skip 2010, else go on with --skip 2510
        "#);
    }
}
