//! `anyport config show`: every setting, and its source.

use std::ffi::OsString;

use anyhow::Context;
use anyport_console::{Exit, Failure, json_to_stdout, write_stdout};
use clap::{Arg, ArgAction};
use serde_json::{Value, json};

use crate::flags::Show;
use crate::layers::{self, Setting, Source};

pub(super) fn run(flags: &Show) -> Result<Exit, Failure> {
    // clap puts everything after the first flag of serve into FLAGS, this flag too.
    let is_json = |flag: &&OsString| *flag == "--json";
    let json = flags.json || flags.flags.iter().any(|flag| is_json(&flag));
    let parsed = super::serve(flags.flags.iter().filter(|flag| !is_json(flag)).cloned())?;
    super::serve_flags(&parsed)?;
    let program = layers::program();
    let arguments = layers::keys(&program, "serve");
    let settings: Vec<(&Arg, &Setting)> = arguments.into_iter().zip(&parsed.settings).collect();
    if json {
        let object: serde_json::Map<String, Value> =
            settings.iter().map(|(argument, setting)| member(argument, setting)).collect();
        json_to_stdout(&Value::from(object)).context("cannot write to stdout")?;
        return Ok(Exit::Done);
    }
    let mut text = String::new();
    for (argument, setting) in settings {
        let line = match to_toml(argument, &setting.values) {
            _ if layers::is_secret(argument) && !setting.values.is_empty() => {
                format!("#{} = … # not shown, from {}\n", setting.key, setting.source)
            }
            Some(value) => format!("{} = {value} # {}\n", setting.key, setting.source),
            None => format!("#{} = # not set\n", setting.key),
        };
        text.push_str(&line);
    }
    write_stdout(&text).context("cannot write to stdout")?;
    Ok(Exit::Done)
}

/// Returns the JSON member of one setting: its key, and its value with its source.
fn member(argument: &Arg, setting: &Setting) -> (String, Value) {
    let mut member = json!({ "from": "default" });
    match &setting.source {
        Source::Default => {}
        Source::Flag => member["from"] = json!("flag"),
        Source::Environment(name) => {
            member["from"] = json!("environment");
            member["variable"] = json!(name);
        }
        Source::File(place) => {
            member["from"] = json!("file");
            member["file"] = json!(place.path.display().to_string());
            member["line"] = json!(place.line);
        }
    }
    if layers::is_secret(argument) && !setting.values.is_empty() {
        member["secret"] = json!(true);
    } else {
        member["value"] = value(argument, &setting.values);
    }
    (setting.key.clone(), member)
}

fn value(argument: &Arg, values: &[OsString]) -> Value {
    let one = |value: &OsString| {
        let text = value.to_string_lossy();
        match text.parse::<i64>() {
            // 007 stays a string, since it is not how the number 7 is written.
            Ok(number) if number.to_string() == text => json!(number),
            _ => json!(text),
        }
    };
    match (argument.get_action(), values) {
        (ArgAction::SetTrue, values) => json!(values.iter().any(|value| value == "true")),
        (ArgAction::Append, values) => values.iter().map(one).collect(),
        (_, [value, ..]) => one(value),
        (_, []) => Value::Null,
    }
}

/// Returns the value as in a TOML file; `None` if it is not set.
pub(super) fn to_toml(argument: &Arg, values: &[OsString]) -> Option<String> {
    match value(argument, values) {
        Value::Null => None,
        // JSON and TOML agree on strings, numbers and lists, except that TOML escapes DEL.
        value => Some(value.to_string().replace('\u{7f}', "\\u007f")),
    }
}
