//! Settings from the environment.

use std::ffi::OsString;

use clap::{Arg, ArgAction};

use super::flag::{Layered, env_names, is_switch};
use super::{Assignment, Source, Variables};

/// Returns the assignments of the environment; adds all errors to `mistakes`. An empty variable
/// sets nothing, because a shell or a unit file cannot always unset one.
pub(super) fn assignments(
    layered: &Layered<'_>,
    variables: Variables<'_>,
    mistakes: &mut Vec<String>,
) -> Vec<Assignment> {
    let mut all = Vec::new();
    for argument in layered.arguments() {
        let mut set = env_names(argument).filter_map(|name| {
            let value = variables(&name).filter(|value| !value.is_empty())?;
            Some((name, value))
        });
        let Some((name, value)) = set.next() else { continue };
        if let Some((former, _)) = set.next() {
            mistakes.push(format!("{former}: already set as {name}"));
            continue;
        }
        // Kubernetes sets this in each pod beside a service called anyport; it is not a setting.
        if name == "ANYPORT_PORT" && value.to_string_lossy().starts_with("tcp://") {
            continue;
        }
        match values(argument, value) {
            Ok(values) => {
                let id = argument.get_id().to_string();
                all.push(Assignment { id, values, source: Source::Environment(name) });
            }
            Err(expected) => mistakes.push(format!("{name}: expected {expected}")),
        }
    }
    all
}

/// Returns the variables among `names` that begin like settings but are none, each with the setting
/// of a similar name, if there is one.
pub(crate) fn unknown_variables(
    names: impl Iterator<Item = OsString>,
) -> Vec<(String, Option<String>)> {
    let program = super::program();
    let arguments = program.get_subcommands().flat_map(|command| command.get_arguments());
    let arguments = arguments.chain(program.get_arguments());
    let known: Vec<String> =
        arguments.flat_map(env_names).chain(OTHERS.map(str::to_owned)).collect();
    let names = names.filter_map(|name| name.into_string().ok());
    let unknown = names.filter(|name| {
        let of_kubernetes = ["ANYPORT_PORT_", "ANYPORT_SERVICE_"];
        name.starts_with("ANYPORT_")
            && !known.contains(name)
            && !of_kubernetes.iter().any(|prefix| name.starts_with(prefix))
    });
    unknown
        .map(|name| {
            let meant = known.iter().find(|known| is_alike(known, &name)).cloned();
            (name, meant)
        })
        .collect()
}

/// Returns whether two names differ in at most two adjacent letters.
fn is_alike(one: &str, other: &str) -> bool {
    let longer = one.len().max(other.len());
    let prefix = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    let suffix = one.bytes().rev().zip(other.bytes().rev()).take_while(|(a, b)| a == b).count();
    prefix + suffix + 2 >= longer
}

/// Variables that anyport reads, but not as settings.
const OTHERS: [&str; 3] = ["ANYPORT_LOG", "ANYPORT_TOKEN", "ANYPORT_DETACHED"];

fn values(argument: &Arg, value: OsString) -> Result<Vec<OsString>, &'static str> {
    let text = value.to_str();
    if is_switch(argument) {
        return match text.map(str::to_ascii_lowercase).as_deref() {
            Some("true" | "1" | "yes" | "on") => Ok(vec!["true".into()]),
            Some("false" | "0" | "no" | "off") => Ok(vec!["false".into()]),
            _ => Err("true or false"),
        };
    }
    match (argument.get_action(), text) {
        (ArgAction::Count, text) if text.is_none_or(|text| text.parse::<u8>().is_err()) => {
            Err("a number from 0 to 255")
        }
        // Addresses and origins hold no blanks, and some hold commas.
        (ArgAction::Append, Some(text)) if argument.get_value_delimiter().is_none() => {
            Ok(text.split_whitespace().map(OsString::from).collect())
        }
        _ => Ok(vec![value]),
    }
}
