//! The program, for tests of its command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    sandbar_cli::main()
}
