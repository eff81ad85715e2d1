//! `anyport man` and `anyport completions`: what is known of the flags, for man and for shells.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, anyhow};
use clap::{Command, CommandFactory};
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use crate::exit::Exit;
use crate::flags::{Anyport, Completions, Man};
use crate::output::write_stdout;
use crate::{Failure, layers};

pub(crate) fn completions(flags: &Completions) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut Anyport::command(), "anyport", &mut script);
    // Names of flags and their help, which are text.
    write_stdout(&String::from_utf8_lossy(&script)).context("cannot write to stdout")?;
    Ok(Exit::Done)
}

pub(crate) fn man(flags: &Man) -> Result<Exit, Failure> {
    let mut program = Anyport::command().disable_help_subcommand(true);
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
                [] => "it has none".to_owned(),
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
    // What help is made of. Of an empty line between two breaks groff makes three, and mandoc complains.
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
    let log = "What is logged to stderr, as tracing-subscriber's EnvFilter has it; beats --verbose. An empty one says nothing.";
    term(roff, bold("ANYPORT_LOG"), log);
}

fn files(roff: &mut Roff) {
    roff.control("SH", ["FILES"]);
    let settings = "Settings of a server, where it is started with --config and this name; no file is read unasked.";
    term(roff, italic("/etc/anyport/anyport.toml"), settings);
    let part = "In a directory that files land in: what has come of one that is not whole.";
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

const VARIABLES: &str = "Each as the flag of its name, which beats it. One that is empty says nothing; a switch is \
                         true or false; several addresses have a blank between them.";

/// That of the version.
const DATE: &str = "2026-11-21";

/// Page, command line, and what it does.
const EXAMPLES: [(&str, &str, &str); 22] = [
    ("anyport", "anyport serve inbox", "Take files into the directory inbox, from this machine."),
    ("anyport", "anyport send photo.jpg HOST", "Send a file."),
    ("anyport", "anyport get HOST:8331/photo.jpg", "Receive it."),
    ("anyport-serve", "anyport serve --open --bind 0.0.0.0 inbox", "Take files from everywhere."),
    ("anyport-serve", "anyport serve --config anyport.toml", "With what a file says."),
    ("anyport-serve", "ANYPORT_MAX_SIZE=1GiB anyport serve", "With a limit from the environment."),
    ("anyport-send", "anyport send -p src/ HOST:8331/backup/", "A directory, with permissions."),
    (
        "anyport-send",
        "tar c src | anyport send - HOST:8331/src.tar",
        "What another program writes.",
    ),
    (
        "anyport-get",
        "anyport get tcp://HOST/backup/ -o here/",
        "A directory and all that is in it.",
    ),
    ("anyport-get", "anyport get HOST --pipe secret -o -", "What somebody sends at this moment."),
    ("anyport-ls", "anyport ls -R tcp://HOST/", "All that is there."),
    ("anyport-chat", "anyport chat HOST/rooms/lobby --as Ann", "Talk to those in a room."),
    ("anyport-cat", "echo hello | anyport cat ws://HOST/echo", "A message, and what is answered."),
    ("anyport-cat", "anyport cat -q 1s udp://HOST:13", "A datagram, and a second's answers."),
    (
        "anyport-resolve",
        "anyport resolve --reverse example.org",
        "A name, and its addresses' names.",
    ),
    ("anyport-config", "anyport config example > anyport.toml", "Begin a file."),
    ("anyport-config-check", "anyport config check anyport.toml", "Look before a restart."),
    ("anyport-config-show", "anyport config show -c anyport.toml", "What holds, and since where."),
    ("anyport-config-example", "anyport config example > anyport.toml", "Begin a file."),
    ("anyport-man", "anyport man --dir /usr/local/share/man/man1", "Install the manual."),
    ("anyport-man", "anyport man serve | man -l -", "Read a page of it."),
    ("anyport-completions", "source <(anyport completions bash)", "For this shell alone."),
];
