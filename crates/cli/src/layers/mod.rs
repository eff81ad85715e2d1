//! Settings come in layers: defaults, then a file, then the environment, then the command line.
//!
//! ```text
//!   anyport.toml ──► values ─┐
//!   ANYPORT_…    ──► values ─┴► the highest layer's value of a flag is its default ─┐
//!   command line ───────────────────────────────────────────────────────────────────┴► one parser
//! ```
//!
//! Keys and variables are derived from the flags, so there is no list of them to keep in sync. Each
//! value of a layer is parsed by the parser of its flag, so there is one meaning and one error
//! text.

mod environment;
mod file;
mod flag;
#[cfg(test)]
mod tests;

pub(crate) use environment::unknown_variables;
pub(crate) use flag::{current_name, env_name, is_secret, key, keys, layered};

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, FromArgMatches};

use crate::flags::{self, Anyport};
use flag::{Layered, TRACE, with_opposites};

/// The flags of all layers together.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) flags: Anyport,
    /// Every setting of the command, where it has layers.
    pub(crate) settings: Vec<Setting>,
    /// The command line, for a reload.
    pub(crate) arguments: Vec<OsString>,
}

/// The effective value of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) key: String,
    /// As on a command line; empty if it is not set.
    pub(crate) values: Vec<OsString>,
    pub(crate) source: Source,
}

/// The source of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Default,
    File(Position),
    Environment(String),
    Flag,
}

/// A position in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) path: PathBuf,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// The assignment of a value to a flag in one layer.
#[derive(Debug, Clone)]
struct Assignment {
    id: String,
    /// As on a command line; `true` or `false` for a switch, a number for a flag that counts.
    values: Vec<OsString>,
    source: Source,
}

/// The error of [`parse`].
#[derive(Debug)]
pub(crate) enum ParseError {
    /// Of the command line, or a request for help.
    Usage(clap::Error),
    /// All mistakes of the lower layers.
    Mistakes(Vec<String>),
}

impl ParseError {
    /// Returns a line for each mistake.
    pub(crate) fn lines(&self) -> Vec<String> {
        match self {
            Self::Usage(error) => vec![gist(error)],
            Self::Mistakes(lines) => lines.clone(),
        }
    }
}

/// Returns a variable of the environment.
pub(crate) type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Returns a variable of the environment of this process.
pub(crate) fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Returns the program with all its flags, as it is parsed.
pub(crate) fn program() -> Command {
    with_opposites(flags::program())
}

/// Merges the layers.
///
/// # Errors
/// A request for help counts as one.
pub(crate) fn parse(
    arguments: Vec<OsString>,
    variables: Variables<'_>,
) -> Result<Parsed, ParseError> {
    let program = program();
    let typed = typed(&program, &arguments)?;
    let Some((name, matches)) = typed.subcommand() else {
        // It was parsed strictly, so there is one.
        let flags = Anyport::from_arg_matches(&typed).map_err(ParseError::Usage)?;
        return Ok(Parsed { flags, settings: Vec::new(), arguments });
    };
    let (layered, matches) = match matches.subcommand().filter(|_| name == TRACE) {
        Some((name, matches)) => (Layered::traced(&program, name), matches),
        None => (Layered::of(&program, name), matches),
    };
    let mut mistakes = Vec::new();
    let in_environment = environment::assignments(&layered, variables, &mut mistakes);
    let in_file = match file_to_read(&layered, matches, &in_environment) {
        Some(path) => file::assignments(&path, &layered, &mut mistakes),
        None => Vec::new(),
    };
    for given in in_environment.iter().chain(&in_file) {
        mistakes.extend(layered.mistake(&program, given));
    }
    if !mistakes.is_empty() {
        return Err(ParseError::Mistakes(mistakes));
    }
    let mut effective = typed_values(matches, &layered);
    for mut layer in [in_environment, in_file] {
        layer.retain(|given| !layered.is_overruled(given, &effective));
        if let Some(conflict) = layered.conflict(&layer) {
            return Err(ParseError::Mistakes(vec![conflict]));
        }
        effective.extend(layer);
    }
    let lower = effective.iter().filter(|given| given.source != Source::Flag);
    let merged = lower.fold(program.clone(), |program, given| layered.apply(program, given));
    let matches = merged.try_get_matches_from(&arguments).map_err(ParseError::Usage)?;
    // Only those of serve are asked for.
    let settings =
        if name == TRACE { Vec::new() } else { settings(&matches, &layered, &effective) };
    let flags = Anyport::from_arg_matches(&matches).map_err(ParseError::Usage)?;
    Ok(Parsed { flags, settings, arguments })
}

/// Parses the command line alone. It may lack a required flag, which a lower layer may set.
fn typed(program: &Command, arguments: &[OsString]) -> Result<ArgMatches, ParseError> {
    match program.clone().try_get_matches_from(arguments) {
        Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => {
            let lenient = program.clone().ignore_errors(true);
            let lenient = lenient.try_get_matches_from(arguments).map_err(ParseError::Usage)?;
            if lenient.subcommand().is_some() { Ok(lenient) } else { Err(ParseError::Usage(error)) }
        }
        matches => matches.map_err(ParseError::Usage),
    }
}

/// Returns the flags that the command line sets, by themselves (`true`) or by their opposites.
fn typed_values(matches: &ArgMatches, layered: &Layered<'_>) -> Vec<Assignment> {
    let is_typed = |argument: &Arg| {
        matches.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine)
    };
    let value = |argument: &Arg| {
        let on = is_typed(argument);
        (on || layered.opposite(argument).is_some_and(is_typed)).then(|| Assignment {
            id: argument.get_id().to_string(),
            values: vec![on.to_string().into()],
            source: Source::Flag,
        })
    };
    layered.arguments().filter_map(value).collect()
}

fn file_to_read(
    layered: &Layered<'_>,
    matches: &ArgMatches,
    in_environment: &[Assignment],
) -> Option<PathBuf> {
    let argument = layered.file()?;
    if let Some(path) = matches.get_one::<PathBuf>(argument.get_id().as_str()) {
        return Some(path.clone());
    }
    let given = in_environment.iter().find(|given| given.id == argument.get_id().as_str())?;
    given.values.first().map(PathBuf::from)
}

fn settings(matches: &ArgMatches, layered: &Layered<'_>, effective: &[Assignment]) -> Vec<Setting> {
    let Some((_, matches)) = matches.subcommand() else { return Vec::new() };
    let setting = |argument: &Arg| {
        let id = argument.get_id().as_str();
        let values = matches.get_raw(id).map(|raw| raw.map(OsStr::to_owned).collect());
        let given = effective.iter().find(|given| given.id == id);
        let source = given.map_or(Source::Default, |given| given.source.clone());
        Setting { key: key(argument), values: values.unwrap_or_default(), source }
    };
    layered.arguments().filter(|argument| layered.is_key(argument)).map(setting).collect()
}

/// Returns the first paragraph of an error of clap, in one line: without usage and tips.
fn gist(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let line = first.split_whitespace().collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(position) => position.fmt(f),
            Self::Environment(name) => write!(f, "env {name}"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, column } = self;
        write!(f, "{}:{line}:{column}", path.display())
    }
}
