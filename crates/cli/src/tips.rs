//! Tips for a command line that cannot be parsed, also for flags and commands of other programs.

use std::ffi::OsString;

use anyport_console::{Exit, Failure};
use clap::Command;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::layers;

/// Returns `error` with tips that help: from [`FLAGS`] and [`COMMANDS`], or those of clap without
/// hidden flags and commands and without its advice to write `-- -x`.
pub(crate) fn improve(error: clap::Error, arguments: &[OsString]) -> clap::Error {
    let mut program = layers::program();
    program.build();
    let command = innermost(&program, arguments);
    match tip(&error, command, arguments) {
        Some(tip) => with_tip(error, tip, command),
        None => without_hidden(error, &program),
    }
}

/// Replaces the suggestions of clap, and the usage that it derives from them.
fn with_tip(mut error: clap::Error, tip: String, command: &Command) -> clap::Error {
    for kind in [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand] {
        error.remove(kind);
    }
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    let usage = command.clone().render_usage();
    error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
    error
}

fn tip(error: &clap::Error, command: &Command, arguments: &[OsString]) -> Option<String> {
    if let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidSubcommand) {
        if command.get_name() == "trace" {
            return Some("trace runs send, get, chat and cat".to_owned());
        }
        let of_word = |(words, _): &&(&str, &str)| words.split(' ').any(|word| word == unknown);
        return COMMANDS.iter().find(of_word).map(|(_, tip)| (*tip).to_owned());
    }
    let (ErrorKind::UnknownArgument, Some(ContextValue::String(unknown))) =
        (error.kind(), error.get(ContextKind::InvalidArg))
    else {
        return None;
    };
    let words: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
    let at = words.iter().rposition(|word| word == unknown).filter(|at| *at > 1);
    let path = command.get_bin_name()?.strip_prefix("anyport ")?;
    if matches!(path, "status" | "reload" | "stop") && !unknown.starts_with('-') {
        return Some("--control PATH selects a server; anyport status shows the paths".to_owned());
    }
    if let Some(before) = at.map(|at| &words[at - 1])
        && is_port(unknown)
        && is_bare(before)
    {
        return Some(server_in_one(before, unknown));
    }
    if path == "send" && !unknown.starts_with('-') {
        return Some("flags stand before the files or after the URL".to_owned());
    }
    let of_flag = |(commands, flags, _): &&(&str, &str, &str)| {
        commands.split(", ").any(|known| known == path)
            && flags.split(' ').any(|flag| flag == unknown)
    };
    FLAGS.iter().find(of_flag).map(|(.., tip)| (*tip).to_owned())
}

/// The command that `arguments` name, as in `bench echo`.
fn innermost<'a>(program: &'a Command, arguments: &[OsString]) -> &'a Command {
    let words = arguments.iter().skip(1).filter_map(|word| word.to_str());
    let mut words = words.filter(|word| !word.starts_with('-'));
    let mut command = program;
    while let Some(inner) = words.next().and_then(|word| command.find_subcommand(word)) {
        command = inner;
    }
    command
}

/// Returns whether a URL is a word that could be a file name.
pub(crate) fn is_bare(url: &str) -> bool {
    !url.contains([':', '/'])
}

/// Returns whether a URL is only a port, without the colon that makes it a server of this machine.
pub(crate) fn is_port(url: &str) -> bool {
    url.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Returns the argument to write instead of `HOST PORT`.
pub(crate) fn server_in_one(host: &str, port: &str) -> String {
    format!("host and port are one argument: {host}:{port}")
}

fn without_hidden(mut error: clap::Error, program: &Command) -> clap::Error {
    let is_visible = |word: &str| is_visible(program, word);
    for kind in
        [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::ValidSubcommand]
    {
        match error.remove(kind) {
            Some(ContextValue::String(word)) if is_visible(&word) => {
                error.insert(kind, ContextValue::String(word));
            }
            Some(ContextValue::Strings(mut words)) => {
                words.retain(|word| is_visible(word));
                if !words.is_empty() {
                    error.insert(kind, ContextValue::Strings(words));
                }
            }
            _ => {}
        }
    }
    if let Some(ContextValue::StyledStrs(mut tips)) = error.remove(ContextKind::Suggested) {
        tips.retain(|tip: &StyledStr| {
            let tip = tip.to_string();
            // `'serve --max-conns' exists`
            let word = tip.split('\'').nth(1).and_then(|quoted| quoted.split(' ').next_back());
            !tip.starts_with("to pass ") && word.is_none_or(is_visible)
        });
        if !tips.is_empty() {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
        }
    }
    error
}

/// Returns whether help shows a command or a long flag of that name.
fn is_visible(program: &Command, word: &str) -> bool {
    let is_flag = |argument: &clap::Arg| {
        let names = argument.get_long_and_visible_aliases().unwrap_or_default();
        !argument.is_hide_set() && names.iter().any(|name| word.strip_prefix("--") == Some(name))
    };
    program.get_arguments().any(is_flag)
        || program
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
            .any(|command| command.get_name() == word || is_visible(command, word))
        || ["help", "--help", "--version"].contains(&word)
}

/// `anyport send FILE`, whose only argument is the target to clap.
pub(crate) fn without_target(error: &clap::Error) -> Option<Failure> {
    let missing = error.get(ContextKind::InvalidArg)?;
    let ContextValue::Strings(names) = missing else { return None };
    let is_files = names.len() == 1 && names[0].starts_with("<FILE>");
    if error.kind() != ErrorKind::MissingRequiredArgument || !is_files {
        return None;
    }
    let error = anyhow::anyhow!("missing URL: the server to send to");
    Some(Failure::new(Exit::Usage, error).with_hint("anyport send FILE HOST:PORT"))
}

/// Flags of rsync, scp, curl, wget, nc and iperf3: the commands, the flags, and a tip.
const FLAGS: [(&str, &str, &str); 24] = [
    ("send, get", "-r -R --recursive", "directories are sent and received without a flag"),
    (
        "send, get",
        "-a --archive",
        "directories and modification times need no flag; -p keeps permissions",
    ),
    (
        "send, get",
        "-P --partial --progress",
        "progress and resuming need no flag; the port is a part of the URL: HOST:PORT",
    ),
    (
        "send, get",
        "-c -C --continue --continue-at",
        "the same command resumes an interrupted transfer, without a flag",
    ),
    (
        "send, get",
        "--del --delete --delete-after",
        "anyport sends and receives files, and deletes none",
    ),
    ("send, get, ls", "-u --user", "--token-file FILE gives the token; there are no users"),
    ("send", "-z --compress", "--deflate compresses over ws:// and wss://"),
    ("send", "-T --upload-file", "files need no flag: anyport send FILE HOST:PORT"),
    ("get", "-O --remote-name", "a file keeps its name without a flag; -o PATH selects another"),
    ("ls", "-l -a --all", "sizes and times of all files are listed without a flag"),
    ("resolve", "-p --port", "the port is a part of the name: HOST:PORT"),
    ("ls", "-r", "-R lists subdirectories too"),
    ("serve", "-l -L", "a server listens without a flag; --bind ADDR or --port PORT selects where"),
    ("serve", "-d --dir --directory", "the directory needs no flag: anyport serve DIR"),
    (
        "cat",
        "-l --listen",
        "to listen use anyport serve, to return all input anyport serve --listen echo://ADDR",
    ),
    ("cat", "-u --udp", "for UDP use anyport cat udp://HOST:PORT"),
    ("cat", "-N", "the end of the input ends the sending side without a flag"),
    (
        "cat",
        "-w --wait",
        "--connect-timeout limits connecting; -q exits after the end of the input",
    ),
    ("chat", "-n -u --nick --name --user", "--as NAME sets your name"),
    ("bench", "-R -r --reverse --recursive", "bench measures uploads only"),
    ("bench", "-t --time", "--runs COUNT and --size SIZE set how long a bench takes"),
    ("bench", "-c --client", "a running server needs no flag: anyport bench tcp://HOST:PORT/"),
    (
        "bench",
        "-s --server",
        "bench starts servers itself; to measure across a network start anyport serve there",
    ),
    ("bench echo, bench rooms", "-t --time", "--duration DURATION sets how long it takes"),
];

/// Commands of other programs, and a tip.
const COMMANDS: [(&str, &str); 6] = [
    ("listen server daemon start", "to accept files use anyport serve"),
    ("recv receive", "to accept files use anyport serve, to download them anyport get"),
    ("put upload push", "to send files use anyport send"),
    ("download pull fetch wget", "to download files use anyport get"),
    ("cp copy scp sync rsync", "to send files use anyport send, to download them anyport get"),
    ("list dir", "to list files use anyport ls"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tip_is_for_a_flag_that_its_commands_lack() {
        let mut program = layers::program();
        program.build();
        for (paths, flags, tip) in FLAGS {
            for path in paths.split(", ") {
                for flag in flags.split(' ') {
                    let words = ["anyport"].into_iter().chain(path.split(' ')).chain([flag]);
                    let words: Vec<OsString> = words.map(OsString::from).collect();
                    let error = program.clone().try_get_matches_from(&words).unwrap_err();
                    let error = improve(error, &words).to_string();
                    assert!(error.contains(&format!("tip: {tip}\n")), "{words:?}: {error}");
                    let usage = format!("Usage: anyport {path} [OPTIONS]");
                    assert!(error.contains(&usage), "{words:?}: {error}");
                }
            }
            for named in tip.split(' ').filter_map(|word| word.strip_prefix("--")) {
                let named = format!("--{}", named.trim_end_matches([';', ',', ':']));
                assert!(is_visible(&program, &named), "{named} does not exist: {tip}");
            }
        }
    }

    #[test]
    fn a_flag_between_the_files_and_the_url_gets_a_tip() {
        let words = ["anyport", "send", "f", "-k", "tls://h:1"].map(OsString::from);
        let error = layers::program().try_get_matches_from(&words).unwrap_err();
        let error = improve(error, &words).to_string();
        assert!(error.contains("tip: flags stand before the files"), "{error}");
    }

    #[test]
    fn each_command_of_another_program_gets_a_tip_and_no_similar_word() {
        for (commands, tip) in COMMANDS {
            for command in commands.split(' ') {
                let words = ["anyport", command, "x"].map(OsString::from);
                let error = layers::program().try_get_matches_from(&words).unwrap_err();
                let error = improve(error, &words).to_string();
                assert!(error.contains(&format!("tip: {tip}")), "{command}: {error}");
                assert!(!error.contains("similar"), "{command}: {error}");
            }
        }
    }
}
