//! What is logged, and how it looks.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use super::Global;
use super::screen::Screen;

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The variable that says in detail what is logged, such as `sandbar=debug,redis=trace`.
const VARIABLE: &str = "SANDBAR_LOG";

/// Logs go to the screen from here on.
pub(super) fn install(global: &Global, server: bool, screen: &Screen) {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(directives(global, server)));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(screen.clone()).with_target(false);
    // Only an embedding program could have installed a subscriber before; its choice stands then.
    let _ = match global.log_format {
        Format::Text => lines.with_ansi(screen.is_live()).compact().try_init(),
        Format::Json => lines.json().flatten_event(true).try_init(),
    };
}

fn directives(global: &Global, server: bool) -> &'static str {
    match (global.quiet, global.verbose, server) {
        (true, ..) => "error",
        (false, 0, true) => "warn,sandbar=info",
        (false, 0, false) => "error,sandbar=warn",
        (false, 1, _) => "info,sandbar=debug",
        (false, ..) => "debug,sandbar=trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_a_filter() {
        for (quiet, verbose, server) in
            [(true, 0, true), (false, 0, true), (false, 0, false), (false, 1, true), (false, 9, true)]
        {
            let global = Global { quiet, verbose, ..Global::default() };
            directives(&global, server).parse::<EnvFilter>().unwrap();
        }
    }
}
