//! The binary `sandbar`.

use std::process::ExitCode;

fn main() -> ExitCode {
    sandbar::cli::main()
}
