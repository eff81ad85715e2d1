//! `anyport man` and `anyport completions`: man pages and shell scripts, generated from the flags.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, anyhow};
use clap::Command;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use crate::exit::Exit;
use crate::flags::{self, Completions, Man};
use crate::output::write_stdout;
use crate::{Failure, layers};

pub(crate) fn completions(Completions { shell }: &Completions) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(*shell, &mut flags::program(), "anyport", &mut script);
    // Names of flags and their help are UTF-8.
    write_stdout(&String::from_utf8_lossy(&script)).context("cannot write to stdout")?;
    Ok(Exit::Done)
}

pub(crate) fn man(flags: &Man) -> Result<Exit, Failure> {
    let mut program = flags::program().disable_help_subcommand(true);
    program.build();
    if let Some(directory) = &flags.dir {
        std::fs::create_dir_all(directory)
            .and_then(|()| write_all(&program, directory))
            .with_context(|| format!("cannot write into {}", directory.display()))?;
        return Ok(Exit::Done);
    }
    let command = flags.command.iter().try_fold(&program, |command, word| {
        command.find_subcommand(word).ok_or_else(|| {
            let known: Vec<_> = shown(command).map(Command::get_name).collect();
            let error = anyhow!("{} has no command {word:?}", title(command));
            let hint = match known.as_slice() {
                [] => "it has no subcommands".to_owned(),
                known => format!("known are {}", known.join(", ")),
            };
            Failure::new(Exit::Usage, error).with_hint(hint)
        })
    })?;
    let page = page(command).context("cannot write a page")?;
    write_stdout(&page).context("cannot write to stdout")?;
    Ok(Exit::Done)
}

fn write_all(command: &Command, directory: &Path) -> io::Result<()> {
    std::fs::write(directory.join(format!("{}.1", title(command))), page(command)?)?;
    shown(command).try_for_each(|command| write_all(command, directory))
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set())
}

/// `anyport`, `anyport-serve`, `anyport-config-show`.
fn title(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

fn page(command: &Command) -> io::Result<String> {
    let source = format!("anyport {}", env!("CARGO_PKG_VERSION"));
    let man = clap_mangen::Man::new(command.clone());
    let man = man.date(DATE).source(source).manual("Anyport Manual");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if shown(command).next().is_some() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut roff = Roff::new();
    exit_status(&mut roff);
    environment(command, &mut roff);
    files(&mut roff);
    examples(command, &mut roff);
    see_also(command, &mut roff);
    roff.to_writer(&mut page)?;
    page.flush()?;
    // Of an empty line between two breaks groff makes three, and mandoc warns.
    Ok(String::from_utf8_lossy(&page).replace("\n.br\n\n.br\n", "\n.sp\n"))
}

fn exit_status(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in Exit::ALL.map(|exit| (exit as u8, exit.meaning())) {
        term(roff, bold(code.to_string()), meaning);
    }
}

fn environment(command: &Command, roff: &mut Roff) {
    roff.control("SH", ["ENVIRONMENT"]);
    let program = layers::program();
    let arguments = layers::layered(&program, command.get_name());
    if !arguments.is_empty() {
        let names: Vec<_> = arguments.into_iter().map(layers::env_name).collect();
        term(roff, bold(names.join(", ")), VARIABLES);
    }
    let log = "Filter for the log on stderr, in the syntax of tracing-subscriber's EnvFilter (info, anyport_server=debug); overrides --verbose unless it is empty.";
    term(roff, bold("ANYPORT_LOG"), log);
}

fn files(roff: &mut Roff) {
    roff.control("SH", ["FILES"]);
    let settings = "Settings of a server that is started with --config and this path. No file is read without --config or ANYPORT_CONFIG.";
    term(roff, italic("/etc/anyport/anyport.toml"), settings);
    let part = "Partial file of an interrupted transfer, in the directory that the file will be stored in.";
    term(roff, italic(".anyport-*.part"), part);
}

fn examples(command: &Command, roff: &mut Roff) {
    let title = title(command);
    let mut examples = EXAMPLES.iter().filter(|(of, ..)| *of == title).peekable();
    if examples.peek().is_none() {
        return;
    }
    roff.control("SH", ["EXAMPLES"]);
    for (_, line, meaning) in examples {
        term(roff, bold(*line), meaning);
    }
}

fn see_also(command: &Command, roff: &mut Roff) {
    roff.control("SH", ["SEE ALSO"]);
    let above = title(command).rsplit_once('-').map(|(above, _)| above.to_owned());
    let below = shown(command).map(|command| title(command).to_owned());
    let pages: Vec<Inline> = above
        .into_iter()
        .chain(below)
        .flat_map(|page| [roman(" "), bold(page), roman("(1)")])
        .skip(1)
        .collect();
    roff.text(pages);
}

fn term(roff: &mut Roff, term: Inline, meaning: &str) {
    roff.control("TP", []);
    roff.text([term]);
    roff.text([roman(meaning)]);
}

const VARIABLES: &str = "Each sets the flag of the same name, which overrides it. An empty variable has no effect. \
                         The value of a switch is true or false; several addresses are separated by spaces.";

/// The date of the version.
const DATE: &str = "2026-11-21";

/// Page, command line, and what it does.
const EXAMPLES: [(&str, &str, &str); 22] = [
    (
        "anyport",
        "anyport serve inbox",
        "Receive files into the directory inbox, from this machine.",
    ),
    ("anyport", "anyport send photo.jpg HOST", "Send a file."),
    ("anyport", "anyport get HOST:8331/photo.jpg", "Download it."),
    (
        "anyport-serve",
        "anyport serve --open --bind 0.0.0.0 inbox",
        "Receive files from all networks.",
    ),
    ("anyport-serve", "anyport serve --config anyport.toml", "Read the settings from a file."),
    ("anyport-serve", "ANYPORT_MAX_SIZE=1GiB anyport serve", "Set a limit in the environment."),
    (
        "anyport-send",
        "anyport send -p src/ HOST:8331/backup/",
        "Send a directory with its permissions.",
    ),
    (
        "anyport-send",
        "tar c src | anyport send - HOST:8331/src.tar",
        "Send the output of a program.",
    ),
    (
        "anyport-get",
        "anyport get tcp://HOST/backup/ -o here/",
        "Download a directory and its content.",
    ),
    ("anyport-get", "anyport get HOST --pipe secret -o -", "Receive from a pipe, to stdout."),
    ("anyport-ls", "anyport ls -R tcp://HOST/", "List all files of a server."),
    ("anyport-chat", "anyport chat HOST/rooms/lobby --as Ann", "Chat in a room."),
    (
        "anyport-cat",
        "echo hello | anyport cat ws://HOST/echo",
        "Send a message and print the answer.",
    ),
    ("anyport-cat", "anyport cat -q 1s udp://HOST:13", "Send a datagram; wait 1 s for answers."),
    (
        "anyport-resolve",
        "anyport resolve --reverse example.org",
        "Resolve a name and its addresses.",
    ),
    ("anyport-config", "anyport config example > anyport.toml", "Start a settings file."),
    ("anyport-config-check", "anyport config check anyport.toml", "Check a file before a restart."),
    (
        "anyport-config-show",
        "anyport config show -c anyport.toml",
        "Show all values and their origins.",
    ),
    ("anyport-config-example", "anyport config example > anyport.toml", "Start a settings file."),
    ("anyport-man", "anyport man --dir /usr/local/share/man/man1", "Install all pages."),
    ("anyport-man", "anyport man serve | man -l -", "Read a page."),
    (
        "anyport-completions",
        "source <(anyport completions bash)",
        "Enable completion in this shell.",
    ),
];
