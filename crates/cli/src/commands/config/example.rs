//! `anyport config example`: a file with every key, commented out, at its default.

use std::ffi::OsStr;

use anyhow::Context;
use anyport_console::{Exit, Failure, write_stdout};
use clap::{Arg, ArgAction};

use crate::layers;
use crate::setting::Restart;

pub(super) fn run() -> Result<Exit, Failure> {
    write_stdout(&example()).context("cannot write to stdout")?;
    Ok(Exit::Done)
}

fn example() -> String {
    let program = layers::program();
    let mut arguments = layers::keys(&program, "serve");
    // By heading, in the order of the help.
    let mut headings: Vec<Option<&str>> = Vec::new();
    for argument in &arguments {
        if !headings.contains(&argument.get_help_heading()) {
            headings.push(argument.get_help_heading());
        }
    }
    let place =
        |argument: &&Arg| headings.iter().position(|one| *one == argument.get_help_heading());
    arguments.sort_by_key(place);
    let mut text = BEGINNING.to_owned();
    let mut heading = None;
    for argument in arguments {
        if argument.get_help_heading() != heading {
            heading = argument.get_help_heading();
            text.push_str(&format!("\n## {}\n", heading.unwrap_or_default()));
        }
        text.push_str(&entry(argument));
    }
    text
}

fn entry(argument: &Arg) -> String {
    let key = layers::key(argument);
    let mut text = String::from("\n");
    let help = argument.get_long_help().or_else(|| argument.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    for (number, paragraph) in help.split("\n\n").enumerate() {
        if number > 0 {
            text.push_str("#\n");
        }
        fill("#", paragraph, &mut text);
    }
    if !matches!(argument.get_action(), ArgAction::SetTrue) {
        for value in argument.get_possible_values() {
            let meaning = value.get_help().map(ToString::to_string).unwrap_or_default();
            fill("# -", &format!("{}: {meaning}", value.get_name()), &mut text);
        }
    }
    if matches!(argument.get(), Some(Restart::Always | Restart::ToListenElsewhere)) {
        text.push_str("# A change needs a restart of the server.\n");
    }
    let default: Vec<_> =
        argument.get_default_values().iter().map(|value| OsStr::to_owned(value)).collect();
    let value = match argument.get_action() {
        ArgAction::Count => Some("0".to_owned()),
        _ => super::show::to_toml(argument, &default),
    };
    let noun = argument.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    match value {
        Some(value) => text.push_str(&format!("#{key} = {value}\n")),
        None => match UNSET.iter().find(|(unset, _)| *unset == key) {
            Some((_, effect)) => text.push_str(&format!("#{key} = {effect} # if not set\n")),
            None => {
                text.push_str(&format!("#{key} = \"{}\" # not set\n", noun.unwrap_or_default()));
            }
        },
    }
    text
}

/// Values that keys without a default have the effect of.
const UNSET: [(&str, &str); 2] = [("port", "8331"), ("greeting", "\"Welcome to anyport!\"")];

/// Appends a text as comment lines of at most [`WIDTH`] columns; the first begins with `first`.
fn fill(first: &str, text: &str, into: &mut String) {
    let mut line = first.to_owned();
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            into.push_str(&line);
            into.push('\n');
            line = format!("#{}", " ".repeat(first.len() - 1));
        }
        line.push(' ');
        line.push_str(word);
    }
    into.push_str(&line);
    into.push('\n');
}

const WIDTH: usize = 100;

const BEGINNING: &str = "\
# Settings of anyport serve, for anyport serve --config FILE.
#
# Each key is the name of a flag without the dashes before it. The entries that are commented out
# show the defaults. An environment variable (ANYPORT_MAX_CONNS for max-conns) overrides this file,
# and a flag (--max-conns) overrides both.
#
# Sizes and rates are in bytes or with a unit (64KiB, 64MiB, 2GB; rates are per second), durations
# have a unit (500ms, 10s, 1h30m).
#
# anyport config check FILE checks the file, anyport config show --config FILE prints the resulting
# settings. A running server reads the file again on SIGHUP and on anyport reload.
";
