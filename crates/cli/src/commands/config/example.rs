//! `anyport config example`: a file with every key, commented out, at its default.

use std::ffi::OsStr;

use anyhow::Context;
use clap::{Arg, ArgAction};

use crate::Failure;
use crate::exit::Exit;
use crate::output::write_stdout;
use crate::{layers, reload};

pub(super) fn run() -> Result<Exit, Failure> {
    write_stdout(&example()).context("cannot write to stdout")?;
    Ok(Exit::Done)
}

fn example() -> String {
    let program = layers::program();
    let mut arguments = layers::keys(&program, "serve");
    // Those of one heading together, in the order in which the help has them.
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
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let possible = argument.get_possible_values();
    let names: Vec<_> = possible.iter().map(clap::builder::PossibleValue::get_name).collect();
    fill(&help, &mut text);
    if !names.is_empty() && !matches!(argument.get_action(), ArgAction::SetTrue) {
        fill(&format!("One of {}.", names.join(", ")), &mut text);
    }
    if reload::NEEDS_A_RESTART.contains(&key.as_str()) {
        text.push_str("# A change needs a restart.\n");
    }
    let default: Vec<_> =
        argument.get_default_values().iter().map(|value| OsStr::to_owned(value)).collect();
    let value = match argument.get_action() {
        ArgAction::Count => Some("0".to_owned()),
        _ => super::show::written(argument, &default),
    };
    let noun = argument.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    match value {
        Some(value) => text.push_str(&format!("#{key} = {value}\n")),
        None => text.push_str(&format!("#{key} = \"{}\" # not set\n", noun.unwrap_or_default())),
    }
    text
}

/// Breaks a text into lines of comment.
fn fill(text: &str, into: &mut String) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            into.push_str(&line);
            into.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    into.push_str(&line);
    into.push('\n');
}

const WIDTH: usize = 100;

const BEGINNING: &str = "\
# Settings of anyport serve, for anyport serve --config FILE. Each key is a flag without the dashes before it.
#
# What is commented out here is what holds if nobody says otherwise. A variable (ANYPORT_MAX_CONNS for max-conns) beats this
# file, and a flag (--max-conns) beats both. Sizes have units (64MiB, 2GB), and durations too (500ms, 10s, 1h30m).
#
# anyport config check FILE says what is wrong with it; anyport config show --config FILE what holds in the end. On SIGHUP a
# running server reads it again.
";
