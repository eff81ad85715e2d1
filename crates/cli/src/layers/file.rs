//! Settings from a file: flat TOML, each key the name of a flag.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use clap::{Arg, ArgAction};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::flag::{Layered, is_secret, is_switch, key};
use super::{Assignment, Position, Source};

/// Returns the assignments of the file at `path`; adds all errors to `mistakes`.
pub(super) fn assignments(
    path: &Path,
    layered: &Layered<'_>,
    mistakes: &mut Vec<String>,
) -> Vec<Assignment> {
    let text = match read(path) {
        Ok(text) => text,
        Err(mistake) => {
            mistakes.push(mistake);
            return Vec::new();
        }
    };
    let (table, errors) = DeTable::parse_recoverable(&text);
    if !errors.is_empty() {
        // The rest would be a guess.
        mistakes.extend(errors.iter().map(|error| {
            let at = error.span().map_or(0, |span| span.start);
            format!("{}: {}", place(path, &text, at), error.message())
        }));
        return Vec::new();
    }
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(word, _)| word.span().start);
    let mut all: Vec<(&str, Assignment)> = Vec::new();
    for (word, value) in entries {
        let at = place(path, &text, word.span().start);
        let word = word.get_ref().as_ref();
        match entry(word, value, layered) {
            Ok((argument, values)) => {
                let id = argument.get_id().to_string();
                match all.iter().find(|(_, given)| given.id == id) {
                    Some((
                        first,
                        Assignment { source: Source::File(Position { line, .. }), .. },
                    )) => {
                        mistakes
                            .push(format!("{at}: {word}: already set in line {line} as {first}"));
                    }
                    _ => {
                        let at = place(path, &text, value.span().start);
                        all.push((word, Assignment { id, values, source: Source::File(at) }));
                    }
                }
            }
            Err(mistake) => mistakes.push(format!("{at}: {mistake}")),
        }
    }
    all.into_iter().map(|(_, given)| given).collect()
}

fn entry<'a>(
    word: &str,
    value: &Spanned<DeValue<'_>>,
    layered: &Layered<'a>,
) -> Result<(&'a Arg, Vec<OsString>), String> {
    let Some(argument) = layered.by_key(word) else { return Err(unknown(word, value, layered)) };
    if !layered.is_key(argument) {
        return Err(format!(
            "{word} cannot be set in the file itself; use --{word} or the environment"
        ));
    }
    let values = values(argument, value.get_ref());
    values.map(|values| (argument, values)).map_err(|expected| {
        let found = match is_secret(argument) {
            true => String::new(),
            false => format!(", not {}", described(value.get_ref())),
        };
        format!("{word}: expected {expected}{found}")
    })
}

fn values(argument: &Arg, value: &DeValue<'_>) -> Result<Vec<OsString>, &'static str> {
    if is_switch(argument) {
        return value.as_bool().map(|on| vec![on.to_string().into()]).ok_or("true or false");
    }
    let (expected, values) = match (argument.get_action(), value) {
        (ArgAction::Count, value) => {
            let times = one(value).filter(|_| matches!(value, DeValue::Integer(_)));
            let fits = |times: &OsString| times.to_str().is_some_and(|t| t.parse::<u8>().is_ok());
            ("a number from 0 to 255", times.filter(fits).map(|times| vec![times]))
        }
        (ArgAction::Append, DeValue::Array(values)) => {
            ("a list of strings", values.iter().map(|value| one(value.get_ref())).collect())
        }
        (ArgAction::Append, value) => ("a list of strings", one(value).map(|one| vec![one])),
        (_, value) => ("a string or a number", one(value).map(|one| vec![one])),
    };
    values.ok_or(expected)
}

/// A value as it would be typed.
fn one(value: &DeValue<'_>) -> Option<OsString> {
    match value {
        DeValue::String(text) => Some(text.as_ref().into()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().into()),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
            Some(number.to_string().into())
        }
        _ => None,
    }
}

fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(true) => "true",
        DeValue::Boolean(false) => "false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn unknown(word: &str, value: &Spanned<DeValue<'_>>, layered: &Layered<'_>) -> String {
    let shown = word.replace(char::is_control, " ");
    if matches!(value.get_ref(), DeValue::Table(_)) {
        return format!("unknown table {shown}; all keys are at the top level");
    }
    let normal = word.replace('_', "-");
    let keys = layered.arguments().filter(|argument| layered.is_key(argument)).map(key);
    let likeness = |key: String| (strsim::jaro_winkler(&normal, &key), key);
    let nearest = keys.map(likeness).max_by(|(one, _), (other, _)| one.total_cmp(other));
    match nearest {
        Some((likeness, key)) if likeness > ALIKE => {
            format!("unknown key {shown:?}; did you mean {key}?")
        }
        _ => format!("unknown key {shown:?}; anyport config example lists all keys"),
    }
}

/// Minimum similarity, from 0 to 1, at which a key is suggested.
const ALIKE: f64 = 0.8;

fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let cannot = |error| format!("cannot read {shown}: {error}");
    let file = File::open(path).map_err(cannot)?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(format!("cannot read {shown}: is a directory"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("cannot read {shown}: larger than {LARGEST} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
        format!("{}: not UTF-8", place(path, &text, good))
    })
}

/// Bytes of the largest file: one with a line for each flag has some thousand.
const LARGEST: u64 = 1 << 20;

/// Lines and columns count from 1, columns by characters.
fn place(path: &Path, text: &str, at: usize) -> Position {
    let before = &text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Position { path: path.to_owned(), line, column }
}
