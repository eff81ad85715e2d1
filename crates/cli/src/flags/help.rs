//! The help of all commands: which flags `-h` shows, and the lines below the flags.

use clap::{Arg, Command};

use super::notes::OPEN;
pub(crate) use super::notes::{examples, exit_codes, signals};

/// Flags that `-h` shows, by command; `--help` shows all. A command that is not listed here shows
/// all of them in both.
const COMMON: [(&str, &str); 7] = [
    (
        "anyport serve",
        "directory config json bind port listen open token_file read_only upload_only on_exists \
         max_size quota max_conns limit_rate tls_cert tls_key only no_detect daemon log_file",
    ),
    (
        "anyport send",
        "files target quiet json write_out plain pipe receivers on_exists checksum perms \
         no_resume token_file limit_rate retry insecure cacert pin",
    ),
    (
        "anyport get",
        "urls output pipe quiet json on_exists checksum perms token_file limit_rate retry \
         insecure cacert pin",
    ),
    ("anyport ls", "url recursive json token_file insecure cacert pin"),
    ("anyport chat", "url nick history json token_file retry insecure cacert pin"),
    ("anyport cat", "url binary quit_after no_shutdown token_file insecure cacert pin"),
    ("anyport bench", "urls file size runs parallel pairs against json csv html"),
];

/// Returns `program` with the help of all its commands completed, for terminals of 80 columns.
pub(crate) fn with_help(program: Command) -> Command {
    let path = program.get_name().to_owned();
    complete(program.max_term_width(80), &path)
}

fn complete(command: Command, path: &str) -> Command {
    // A command has the same flags behind trace.
    let own = path.replace("anyport trace ", "anyport ");
    let common = COMMON.iter().find(|(name, _)| *name == own).map(|(_, common)| *common);
    let command = command.mut_args(|arg| {
        let is_common = common.is_none_or(|common| common.split(' ').any(|id| arg.get_id() == id));
        arg.hide_short_help(!is_common)
    });
    let notes = notes(&command, path);
    let has_flags = command.get_arguments().any(|arg| !arg.is_global_set());
    let more = match (common, command.has_subcommands() && !has_flags) {
        (_, true) => format!("'{path} COMMAND --help' shows all flags of a command"),
        (Some(_), false) => format!("'{path} --help' shows all flags and their details"),
        (None, false) => String::new(),
    };
    let below = match path {
        // A newcomer's first look is at the program's own -h.
        "anyport" => format!("{notes}\n\n{more}"),
        "anyport serve" => format!("For other machines too: {OPEN}\n{more}"),
        _ => more,
    };
    let command = match below.is_empty() {
        true => command,
        false => command.after_help(below),
    };
    let command = command.after_long_help(notes);
    command.mut_subcommands(|command| {
        let path = format!("{path} {}", command.get_name());
        complete(command, &path)
    })
}

/// Returns `command` and its subcommands with all flags in `-h` too, for readers of that property.
pub(crate) fn unabridged(command: Command) -> Command {
    command.mut_args(|arg| arg.hide_short_help(false)).mut_subcommands(unabridged)
}

/// Returns the lines below the flags in `--help`.
fn notes(command: &Command, path: &str) -> String {
    let units = units(command);
    let indent = format!("\n{:12}", "");
    let units = units.map(|(name, meaning)| (name, meaning.replace('\n', &indent)));
    let units: String = units.map(|(name, meaning)| format!("\n  {name:<8}  {meaning}")).collect();
    let title = path.replace(' ', "-");
    let codes = exit_codes(&title).iter();
    let codes: String = codes.map(|(code, meaning)| format!("\n  {code:<3}  {meaning}")).collect();
    let examples = examples(&title).map(|(line, effect)| format!("\n  {effect}:\n      {line}"));
    let signals = signals(&title).iter();
    let signals = signals.map(|(signal, effect)| format!("\n  {signal:<15}  {effect}"));
    let sections = [
        ("Values", units),
        ("Signals", signals.collect()),
        ("Exit codes", codes),
        ("Examples", examples.collect()),
    ];
    let sections = sections.into_iter().filter(|(_, lines)| !lines.is_empty());
    let sections: Vec<_> = sections.map(|(title, lines)| format!("{title}:{lines}")).collect();
    sections.join("\n\n")
}

/// Returns the units of the values of the flags of `command`.
pub(crate) fn units(command: &Command) -> impl Iterator<Item = (&'static str, &'static str)> {
    let has = |name: &str| command.get_arguments().any(|arg| value_name(arg) == Some(name));
    UNITS.into_iter().filter(move |(name, _)| has(name))
}

/// Returns the name of the value of a flag, if it has one.
pub(crate) fn value_name(arg: &Arg) -> Option<&str> {
    let takes_value = arg.get_action().takes_values();
    arg.get_value_names().filter(|_| takes_value)?.first().map(|name| name.as_str())
}

const UNITS: [(&str, &str); 3] = [
    (
        "SIZE",
        "whole bytes, or with a unit: kB, MB, GB (or K, M, G) are powers of\n\
         1000, KiB, MiB, GiB of 1024, in upper or lower case (10mb is 10MB);\n\
         as in 64KiB, 1MB or 2GiB; no fractions: 1500MB, not 1.5GB",
    ),
    (
        "RATE",
        "bytes per second, or with a unit: kB, MB, GB (or K, M, G) are\n\
         powers of 1000, KiB, MiB, GiB of 1024, as in 500kB or 2MiB; K, M\n\
         and G in upper or lower case, B in upper case: 10Mb would be bits",
    ),
    ("DURATION", "number and unit: ms, s, m (minutes), h, d; as in 500ms, 1h30m"),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use regex::Regex;

    use super::*;
    use crate::layers;

    /// Names of the values of flags, one for each kind.
    const VALUE_NAMES: [&str; 30] = [
        "ADDR",
        "ALGORITHM",
        "BACKEND",
        "COMMAND",
        "COUNT",
        "DIR",
        "DURATION",
        "ENGINE",
        "FILE",
        "FINGERPRINT",
        "FLAGS",
        "FORMAT",
        "HOST",
        "KEY",
        "MODE",
        "NAME",
        "ORIGIN",
        "PATH",
        "PID",
        "POLICY",
        "PORT",
        "PROTOCOL",
        "RATE",
        "RIGHTS",
        "ROW",
        "SHELL",
        "SIZE",
        "SOCKET",
        "TEXT",
        "URL",
    ];

    /// All commands that are shown, with the flags that they share.
    fn commands() -> Vec<Command> {
        fn collect(command: &Command, all: &mut Vec<Command>) {
            all.push(command.clone().term_width(80));
            let is_ours =
                |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
            for command in command.get_subcommands().filter(is_ours) {
                collect(command, all);
            }
        }
        let mut program = layers::program();
        program.build();
        let mut all = Vec::new();
        collect(&program, &mut all);
        assert!(all.len() > 20, "only {} commands", all.len());
        all
    }

    fn shown(command: &Command) -> impl Iterator<Item = &Arg> {
        command.get_arguments().filter(|arg| !arg.is_hide_set())
    }

    #[test]
    fn short_help_fits_a_terminal_of_80_columns_and_50_lines() {
        for mut command in commands() {
            let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
            let help = command.render_help().to_string();
            let lines: Vec<&str> = help.lines().collect();
            assert!(lines.len() <= 50, "{name} -h has {} lines:\n{help}", lines.len());
            // A flag that -h does not show is announced in the last line.
            let hides = shown(&command).any(Arg::is_hide_short_help_set);
            let announces = lines.last().unwrap().contains("--help' shows all flags");
            assert!(announces || !hides, "{name}:\n{help}");
            for line in lines {
                assert!(line.chars().count() <= 80, "{name} -h: {line}");
            }
        }
    }

    #[test]
    fn long_help_has_every_flag_within_80_columns() {
        for mut command in commands() {
            let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
            let help = command.render_long_help().to_string();
            for line in help.lines() {
                assert!(line.chars().count() <= 80, "{name} --help: {line}");
            }
            for long in shown(&command).filter_map(Arg::get_long) {
                assert!(help.contains(&format!("--{long}")), "{name} --help lacks --{long}");
            }
        }
    }

    #[test]
    fn the_first_line_of_help_is_short_and_no_sentence() {
        for command in commands() {
            let name = command.get_name();
            let about = command.get_about().map(ToString::to_string);
            let flags = shown(&command).map(|arg| {
                let help = arg.get_help().map(ToString::to_string);
                (arg.get_id().to_string(), help)
            });
            for (flag, help) in flags.chain([("about".to_owned(), about)]) {
                let help = help.unwrap_or_else(|| panic!("{name}: {flag} has no help"));
                assert!(help.chars().count() <= 72, "{name}: {flag}: over 72 columns: {help}");
                assert!(!help.ends_with('.'), "{name}: {flag}: ends with a full stop: {help}");
                assert!(!help.contains('\n'), "{name}: {flag}: several lines: {help}");
            }
        }
    }

    #[test]
    fn help_uses_no_word_of_the_word_list() {
        let list = include_str!("../../../../scripts/words.list");
        // The second part of the list is for code only.
        let words = list.lines().take_while(|line| *line != "[code]");
        let words: Vec<&str> =
            words.filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        let words = Regex::new(&format!(r"(?i-u)\b(?:{})\b", words.join("|"))).unwrap();
        assert!(words.is_match("and Nobody else"), "{words}");
        for mut command in commands() {
            for help in [command.render_help(), command.render_long_help()] {
                // A line break may stand within an expression.
                let help = help.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
                let found: Vec<&str> = words.find_iter(&help).map(|found| found.as_str()).collect();
                assert_eq!(found, [""; 0], "anyport {}: {help}", command.get_name());
            }
        }
    }

    #[test]
    fn each_kind_of_value_has_one_name() {
        let mut used = HashSet::new();
        for command in commands() {
            for arg in shown(&command) {
                let Some(name) = value_name(arg) else { continue };
                let place = format!("{}: {}", command.get_name(), arg.get_id());
                assert!(VALUE_NAMES.contains(&name), "{place}: {name} is not in VALUE_NAMES");
                used.insert(name.to_owned());
            }
        }
        for name in VALUE_NAMES {
            assert!(used.contains(name), "{name} is not used");
        }
    }

    #[test]
    fn every_flag_named_as_common_exists() {
        let commands = commands();
        for (path, common) in COMMON {
            let named = |command: &&Command| command.get_bin_name() == Some(path);
            let command = commands.iter().find(named).unwrap_or_else(|| panic!("no {path}"));
            for id in common.split(' ') {
                assert!(command.get_arguments().any(|arg| arg.get_id() == id), "{path}: no {id}");
            }
        }
    }
}
