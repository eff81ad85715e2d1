//! What the environment says of a command's flags.

use std::ffi::OsString;

use clap::{Arg, ArgAction};

use super::flag::{Layered, env_names, is_switch};
use super::{Given, Said, Source, Variables};

/// A variable that is empty says nothing: that is how a shell or a unit file takes one back.
pub(super) fn given(
    layered: &Layered<'_>,
    variables: Variables<'_>,
    mistakes: &mut Vec<String>,
) -> Vec<Given> {
    let mut all = Vec::new();
    for argument in layered.arguments().filter(|argument| argument.get_env().is_none()) {
        let mut set = env_names(argument).filter_map(|name| {
            let value = variables(&name).filter(|value| !value.is_empty())?;
            Some((name, value))
        });
        let Some((name, value)) = set.next() else { continue };
        if let Some((former, _)) = set.next() {
            mistakes.push(format!("{former}: already set as {name}"));
            continue;
        }
        // Kubernetes sets this in each pod beside a service called anyport, and it is not meant for the program.
        if name == "ANYPORT_PORT" && value.to_string_lossy().starts_with("tcp://") {
            continue;
        }
        match said(argument, value) {
            Ok(said) => {
                let id = argument.get_id().to_string();
                all.push(Given { id, said, source: Source::Environment(name) });
            }
            Err(expected) => mistakes.push(format!("{name}: expected {expected}")),
        }
    }
    all
}

fn said(argument: &Arg, value: OsString) -> Result<Said, &'static str> {
    let text = value.to_str();
    if is_switch(argument) {
        return match text.map(str::to_ascii_lowercase).as_deref() {
            Some("true" | "1" | "yes" | "on") => Ok(Said::Switch(true)),
            Some("false" | "0" | "no" | "off") => Ok(Said::Switch(false)),
            _ => Err("true or false"),
        };
    }
    match (argument.get_action(), text) {
        (ArgAction::Count, text) => {
            let times = text.and_then(|text| text.parse().ok());
            times.map(Said::Times).ok_or("a number from 0 to 255")
        }
        // Addresses and origins hold no blanks, and some hold commas.
        (ArgAction::Append, Some(text)) if argument.get_value_delimiter().is_none() => {
            Ok(Said::Values(text.split_whitespace().map(OsString::from).collect()))
        }
        _ => Ok(Said::Values(vec![value])),
    }
}
