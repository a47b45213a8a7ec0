//! The command reference in `docs/cli.md` is what the program says of itself.
//!
//! `SANDBAR_BLESS=1 cargo test -p sandbar-cli reference` writes it anew.

use std::fmt::Write;
use std::{env, fs};

use clap::{Arg, Command, CommandFactory};

use super::Cli;
use super::exit::Exit;

const BEGIN: &str = "<!-- commands: made from the program -->\n";
const END: &str = "<!-- end of commands -->\n";

fn path() -> String {
    format!("{}/../../docs/cli.md", env!("CARGO_MANIFEST_DIR"))
}

/// A cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// How an argument is written.
fn written(argument: &Arg) -> String {
    let value =
        argument.get_value_names().into_iter().flatten().map(|name| name.to_string()).collect::<Vec<_>>().join(" ");
    let takes = argument.get_action().takes_values() && !value.is_empty();
    let name = match (argument.get_short(), argument.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}"),
        (Some(short), None) => format!("-{short}"),
        (None, Some(long)) => format!("--{long}"),
        (None, None) => return format!("`{value}`"),
    };
    if takes { format!("`{name} {value}`") } else { format!("`{name}`") }
}

fn arguments(command: &Command, text: &mut String) {
    let shown = |argument: &&Arg| !argument.is_global_set() && !argument.is_hide_set() && argument.get_id() != "help";
    let arguments: Vec<&Arg> = command.get_arguments().filter(shown).collect();
    if arguments.is_empty() {
        return;
    }
    text.push_str("\n| argument | meaning | default |\n| --- | --- | --- |\n");
    for argument in arguments {
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let takes = argument.get_action().takes_values();
        let defaults = argument.get_default_values().iter().filter(|value| takes && !value.is_empty());
        let default = defaults.map(|value| format!("`{}`", value.to_string_lossy())).collect::<Vec<_>>().join(" ");
        writeln!(text, "| {} | {} | {} |", cell(&written(argument)), cell(&help), cell(&default)).unwrap();
    }
}

fn command(command: &Command, name: &str, text: &mut String) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    writeln!(text, "\n### `{name}`\n\n{about}.").unwrap();
    arguments(command, text);
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        self::command(inner, &format!("{name} {}", inner.get_name()), text);
    }
}

fn reference() -> String {
    let cli = Cli::command();
    let mut text = String::new();
    for inner in cli.get_subcommands().filter(|inner| inner.get_name() != "help") {
        command(inner, &format!("sandbar {}", inner.get_name()), &mut text);
    }
    text.push('\n');
    text
}

#[test]
fn the_reference_is_what_the_program_says() {
    let page = fs::read_to_string(path()).unwrap();
    let (head, rest) = page.split_once(BEGIN).expect("the page has a place for the commands");
    let (written, tail) = rest.split_once(END).expect("the place has an end");
    if env::var_os("SANDBAR_BLESS").is_some() {
        fs::write(path(), [head, BEGIN, &reference(), END, tail].concat()).unwrap();
    } else {
        assert_eq!(written, reference(), "SANDBAR_BLESS=1 cargo test -p sandbar-cli reference");
    }
}

#[test]
fn the_exit_codes_are_those_of_the_program() {
    let page = fs::read_to_string(path()).unwrap();
    let (_, table) = page.split_once("| exit code | meaning |\n| --- | --- |\n").unwrap();
    let codes = table.lines().map_while(|line| line.strip_prefix("| ")?.split(' ').next()?.parse::<u8>().ok());
    assert_eq!(codes.collect::<Vec<_>>(), Exit::ALL.map(Exit::code));
}
