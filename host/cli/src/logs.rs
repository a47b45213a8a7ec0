//! What is logged, and how it looks.

mod limit;

use clap::ValueEnum;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use super::Global;
use super::screen::Screen;
use limit::Limit;

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The variable that says in detail what is logged, such as `sandbar=debug,plugin=trace`.
const VARIABLE: &str = "SANDBAR_LOG";

/// Logs go to the screen from here on. Lines that repeat are bounded, unless more is asked for.
pub(super) fn install(global: &Global, server: bool, screen: &Screen) {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(directives(global, server)));
    let (output, format) = (screen.clone(), global.log_format);
    let limit = (global.verbose == 0).then(|| Limit::new(move |lines| output.line(&skipped(format, lines))));
    let lines = fmt::layer().with_writer(screen.clone()).with_target(false);
    let lines = match format {
        Format::Text => lines.with_ansi(screen.is_live()).compact().boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let lines = match limit {
        Some(limit) => lines.with_filter(limit).boxed(),
        None => lines.boxed(),
    };
    // Only an embedding program could have installed a subscriber before; its choice stands then.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}

/// What the host logs (`sandbar`), what plugins log (`plugin`), and all else.
fn directives(global: &Global, server: bool) -> &'static str {
    match (global.quiet, global.verbose, server) {
        (true, ..) => "error",
        (false, 0, true) => "warn,sandbar=info,plugin=info",
        (false, 0, false) => "error,sandbar=warn",
        (false, 1, _) => "info,sandbar=debug,plugin=debug",
        (false, ..) => "debug,sandbar=trace,plugin=trace",
    }
}

fn skipped(format: Format, lines: u64) -> String {
    match format {
        Format::Text => format!("({lines} lines like the next one were dropped; -v shows all)"),
        Format::Json => {
            serde_json::json!({ "level": "WARN", "message": "lines like the next one were dropped", "lines": lines })
                .to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_a_filter() {
        let choices = [(true, 0, true), (false, 0, true), (false, 0, false), (false, 1, true), (false, 9, true)];
        for (quiet, verbose, server) in choices {
            let global = Global { quiet, verbose, ..Global::default() };
            directives(&global, server).parse::<EnvFilter>().unwrap();
        }
    }
}
