//! Flags that have layers, and their names there.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command};

use super::{Assignment, Source, gist};
use crate::flags::help::value_name;

/// The flags of one command that lower layers may set.
#[derive(Debug)]
pub(super) struct Layered<'a> {
    /// `None`: it has no layers.
    command: Option<&'a Command>,
    arguments: Vec<&'a Arg>,
    /// Whether the command is traced: it is then a subcommand of another one.
    traced: bool,
}

impl<'a> Layered<'a> {
    pub(super) fn of(program: &'a Command, name: &str) -> Self {
        let command = program.find_subcommand(name).filter(|command| has_layers(command));
        let own = command.into_iter().flat_map(Command::get_arguments);
        let common = program.get_arguments().filter(|argument| argument.is_global_set());
        let common = common.filter(|_| command.is_some());
        let arguments = own.chain(common).filter(|argument| is_layered(name, argument)).collect();
        Self { command, arguments, traced: false }
    }

    /// The flags of a command behind `trace`.
    pub(super) fn traced(program: &'a Command, name: &str) -> Self {
        Self { traced: true, ..Self::of(program, name) }
    }

    pub(super) fn arguments(&self) -> impl Iterator<Item = &'a Arg> {
        self.arguments.iter().copied()
    }

    pub(super) fn argument(&self, id: &str) -> Option<&'a Arg> {
        self.arguments().find(|argument| argument.get_id() == id)
    }

    /// The flag that names a file with the others.
    pub(super) fn file(&self) -> Option<&'a Arg> {
        self.argument(FILE)
    }

    /// Returns whether a file may set it.
    pub(super) fn is_key(&self, argument: &Arg) -> bool {
        argument.get_id() != FILE
    }

    /// The flag that a file calls `word`: its name, or one that it had in an earlier version.
    pub(super) fn by_key(&self, word: &str) -> Option<&'a Arg> {
        let word = word.replace('_', "-");
        self.arguments()
            .find(|argument| key(argument) == word || former_keys(argument).any(|key| key == word))
    }

    /// Returns the flag that unsets it.
    pub(super) fn opposite(&self, argument: &Arg) -> Option<&'a Arg> {
        let long = opposite(argument)?;
        self.command?.get_arguments().find(|argument| argument.get_long() == Some(&long))
    }

    /// Returns the mistake in a value, by the parser of its flag.
    pub(super) fn mistake(&self, program: &Command, given: &Assignment) -> Option<String> {
        let (command, argument) = (self.command?, self.argument(&given.id)?);
        if !argument.get_action().takes_values() {
            return None;
        }
        let mut line: Vec<OsString> = vec![program.get_name().into(), command.get_name().into()];
        line.extend(given.values.iter().flat_map(|value| as_typed(argument, value)));
        let error = program.clone().try_get_matches_from(line).err()?;
        if !matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) {
            return None;
        }
        let why = match is_secret(argument) {
            true => "invalid value".to_owned(),
            false => gist(&error),
        };
        Some(match &given.source {
            Source::Environment(name) => format!("{name}: {why}"),
            place => format!("{place}: {}: {why}", key(argument)),
        })
    }

    /// Returns the first conflict between values of one layer.
    pub(super) fn conflict(&self, layer: &[Assignment]) -> Option<String> {
        layer.iter().enumerate().find_map(|(number, given)| {
            let others = layer.iter().skip(number + 1);
            let other = others.into_iter().find(|other| self.is_conflict(given, other))?;
            let (one, two) = (self.argument(&given.id)?, self.argument(&other.id)?);
            let name = value_name(two).map(|name| format!(" <{name}>")).unwrap_or_default();
            let (one, two) = (key(one), key(two));
            Some(format!(
                "the argument '--{one}' cannot be used with '--{two}{name}' (--{one} from {}, \
                 --{two} from {})",
                given.source, other.source
            ))
        })
    }

    /// Whether two values cannot be in effect together. A switch that is off has no effect.
    fn is_conflict(&self, given: &Assignment, other: &Assignment) -> bool {
        let in_effect = |given: &Assignment| {
            let argument = self.argument(&given.id)?;
            Some(argument).filter(|argument| !is_switch(argument) || given.values != ["false"])
        };
        let (Some(one), Some(other)) = (in_effect(given), in_effect(other)) else { return false };
        let names = |one: &Arg, other: &Arg| {
            let command = self.command.filter(|_| !one.is_global_set());
            let conflicts = command.map(|command| command.get_arg_conflicts_with(one));
            conflicts.into_iter().flatten().any(|arg| arg.get_id() == other.get_id())
        };
        names(one, other) || names(other, one)
    }

    /// Whether a higher layer sets the flag, or one that conflicts with it.
    pub(super) fn is_overruled(&self, given: &Assignment, above: &[Assignment]) -> bool {
        above.iter().any(|above| above.id == given.id || self.is_conflict(above, given))
    }

    /// Makes the value of a lower layer the default of its flag.
    pub(super) fn apply(&self, program: Command, given: &Assignment) -> Command {
        let apply = |arg: Arg| arg.default_values(given.values.clone()).required(false);
        let of_command = self.command.filter(|command| {
            command.get_arguments().any(|argument| argument.get_id() == given.id.as_str())
        });
        match of_command {
            Some(command) => {
                let name = command.get_name();
                let with_value = |command: Command| command.mut_arg(&given.id, apply);
                match self.traced {
                    true => program
                        .mut_subcommand(TRACE, |trace| trace.mut_subcommand(name, with_value)),
                    false => program.mut_subcommand(name, with_value),
                }
            }
            None => program.mut_arg(&given.id, apply),
        }
    }
}

/// Returns a value as it would be typed.
fn as_typed(argument: &Arg, value: &OsString) -> [OsString; 2] {
    match argument.get_long() {
        Some(long) => [format!("--{long}").into(), value.clone()],
        None => ["--".into(), value.clone()],
    }
}

/// The name of a setting: that of its flag, without the dashes before it.
pub(crate) fn key(argument: &Arg) -> String {
    argument.get_long().unwrap_or_else(|| argument.get_id().as_str()).to_owned()
}

/// Names of a setting in earlier versions: the hidden aliases of its flag.
fn former_keys(argument: &Arg) -> impl Iterator<Item = &str> {
    argument.get_aliases().into_iter().flatten()
}

/// Returns the name of the setting of a command that `word` names, maybe by a former name.
pub(crate) fn current_name(program: &Command, command: &str, word: &str) -> Option<String> {
    Layered::of(program, command).by_key(word).map(key)
}

/// The variable that sets it.
pub(crate) fn env_name(argument: &Arg) -> String {
    env_name_of(&key(argument))
}

/// All variables that set it, those of earlier versions too.
pub(super) fn env_names(argument: &Arg) -> impl Iterator<Item = String> {
    std::iter::once(env_name(argument)).chain(former_keys(argument).map(env_name_of))
}

fn env_name_of(key: &str) -> String {
    format!("ANYPORT_{}", key.replace('-', "_").to_ascii_uppercase())
}

/// Returns whether its value is secret.
pub(crate) fn is_secret(argument: &Arg) -> bool {
    argument.is_hide_env_values_set()
}

/// Returns the flags of a command that layers may set.
pub(crate) fn layered<'a>(program: &'a Command, name: &str) -> Vec<&'a Arg> {
    Layered::of(program, name).arguments().collect()
}

/// Returns the flags of a command that layers may set, without the one that names the file.
pub(crate) fn keys<'a>(program: &'a Command, name: &str) -> Vec<&'a Arg> {
    let layered = Layered::of(program, name);
    layered.arguments().filter(|argument| layered.is_key(argument)).collect()
}

/// Returns the flag that unsets a switch: `--no-open`, and for `--no-detect` it is `--detect`.
fn opposite(argument: &Arg) -> Option<String> {
    let long = argument.get_long().filter(|_| is_switch(argument))?;
    Some(match long.strip_prefix("no-") {
        Some(bare) => bare.to_owned(),
        None => format!("no-{long}"),
    })
}

/// Adds the opposite of each switch that a lower layer may set. They are not shown: there is
/// nothing to know but the rule.
pub(super) fn with_opposites(program: Command) -> Command {
    program.mut_subcommands(|command| {
        let name = command.get_name().to_owned();
        if name == TRACE {
            return with_opposites(command);
        }
        let switches: Vec<Arg> = command
            .get_arguments()
            .filter(|argument| has_layers(&command) && is_layered(&name, argument))
            .cloned()
            .collect();
        switches.iter().fold(command, |command, switch| {
            let Some(opposite) = opposite(switch) else { return command };
            let is_taken = |argument: &Arg| argument.get_long() == Some(&opposite);
            if command.get_arguments().any(is_taken) {
                return command;
            }
            let id = switch.get_id().clone();
            command.arg(
                Arg::new(opposite.clone())
                    .long(opposite)
                    .action(ArgAction::SetTrue)
                    .overrides_with(id)
                    .hide(true),
            )
        })
    })
}

pub(super) fn is_switch(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::SetTrue)
}

fn has_layers(command: &Command) -> bool {
    command.get_name() == SERVE || CLIENTS.contains(&command.get_name())
}

fn is_layered(command: &str, argument: &Arg) -> bool {
    let acts = matches!(
        argument.get_action(),
        ArgAction::Help | ArgAction::Version | ArgAction::HelpShort | ArgAction::HelpLong
    );
    if acts || argument.is_hide_set() {
        return false;
    }
    let is_flag = argument.get_long().is_some();
    match command {
        SERVE => true,
        _ => {
            is_flag
                && argument
                    .get_long()
                    .is_some_and(|long| COMMON.split(' ').any(|common| common == long))
        }
    }
}

/// The command whose flags are all settings.
const SERVE: &str = "serve";

/// The command that runs another one.
pub(super) const TRACE: &str = "trace";

/// The flag that names the file, which cannot be in the file.
const FILE: &str = "config";

/// Commands that read the environment.
const CLIENTS: [&str; 10] =
    ["send", "get", "ls", "share", "chat", "cat", "resolve", "status", "reload", "stop"];

/// Flags of clients that the environment can set: those that have the same value in many calls.
const COMMON: &str = "\
    as cacert cert congestion connect-timeout control deflate digest engine frame-size \
    insecure json key known-hosts limit-rate links on-exists pin quiet retry retry-max-time \
    timeout token verbose write-out";
