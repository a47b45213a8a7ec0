//! The binary `sandbar`.

use std::process::ExitCode;

fn main() -> ExitCode {
    sandbar_cli::main()
}
