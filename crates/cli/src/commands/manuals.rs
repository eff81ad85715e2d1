//! `anyport man` and `anyport completions`: man pages and shell scripts, generated from the flags.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, anyhow};
use anyport_console::{Exit, Failure, write_stdout};
use clap::Command;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use crate::flags::{self, Completions, Man, help};
use crate::layers;

pub(crate) fn completions(Completions { shell }: &Completions) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(*shell, &mut flags::program(), "anyport", &mut script);
    // Names of flags and their help are UTF-8.
    write_stdout(&String::from_utf8_lossy(&script)).context("cannot write to stdout")?;
    Ok(Exit::Done)
}

pub(crate) fn man(flags: &Man) -> Result<Exit, Failure> {
    let program = program();
    if let Some(directory) = &flags.dir {
        std::fs::create_dir_all(directory)
            .and_then(|()| write_all(&program, directory))
            .with_context(|| format!("cannot write to {}", directory.display()))?;
        return Ok(Exit::Done);
    }
    let command = flags.command.iter().try_fold(&program, |command, word| {
        command.find_subcommand(word).ok_or_else(|| {
            let known: Vec<_> = shown(command).map(Command::get_name).collect();
            let error = anyhow!("{} has no command {word:?}", title(command));
            let hint = match known.as_slice() {
                [] => "it has no subcommands".to_owned(),
                known => format!("expected one of {}", known.join(", ")),
            };
            Failure::new(Exit::Usage, error).with_hint(hint)
        })
    })?;
    let page = page(command).context("cannot format the page")?;
    write_stdout(&page).context("cannot write to stdout")?;
    Ok(Exit::Done)
}

/// The program as pages describe it: all flags, and no command that only prints help.
fn program() -> Command {
    let mut program = help::unabridged(flags::program()).disable_help_subcommand(true);
    program.build();
    program
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
    values(command, &mut roff);
    signals(command, &mut roff);
    exit_status(command, &mut roff);
    environment(command, &mut roff);
    files(&mut roff);
    examples(command, &mut roff);
    see_also(command, &mut roff);
    roff.to_writer(&mut page)?;
    page.flush()?;
    // Of an empty line between two breaks groff makes three, and mandoc warns.
    Ok(String::from_utf8_lossy(&page).replace("\n.br\n\n.br\n", "\n.sp\n"))
}

fn values(command: &Command, roff: &mut Roff) {
    let mut units = help::units(command).peekable();
    if units.peek().is_some() {
        roff.control("SH", ["VALUES"]);
    }
    for (name, meaning) in units {
        term(roff, italic(name), &format!("{}.", meaning.replace('\n', " ")));
    }
}

fn signals(command: &Command, roff: &mut Roff) {
    let signals = help::signals(title(command));
    if !signals.is_empty() {
        roff.control("SH", ["SIGNALS"]);
    }
    for (signal, effect) in signals {
        term(roff, bold(*signal), &format!("{effect}."));
    }
}

fn exit_status(command: &Command, roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    let codes = help::exit_codes(title(command));
    if codes.is_empty() {
        for exit in Exit::ALL {
            term(roff, bold((exit as u8).to_string()), exit.meaning());
        }
    }
    for (code, meaning) in codes {
        term(roff, bold(code.to_string()), &format!("{meaning}."));
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
    term(roff, bold("ANYPORT_LOG"), LOG);
}

fn files(roff: &mut Roff) {
    roff.control("SH", ["FILES"]);
    term(roff, italic("/etc/anyport/anyport.toml"), SETTINGS);
    term(roff, italic(".anyport-*.part"), PARTIAL);
}

fn examples(command: &Command, roff: &mut Roff) {
    let title = title(command);
    let mut examples = help::examples(title).peekable();
    if examples.peek().is_none() {
        return;
    }
    roff.control("SH", ["EXAMPLES"]);
    for (line, meaning) in examples {
        term(roff, bold(line), &format!("{meaning}."));
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

const VARIABLES: &str = "Each sets the flag of the same name, which overrides it. An empty \
                         variable has no effect. The value of a switch is true or false; several \
                         addresses are separated by spaces.";

const LOG: &str = "Filter for the log on stderr: error, warn, info, debug or trace, or a filter of \
                   tracing-subscriber (info,anyport_server=debug); overrides --verbose \
                   unless it is empty.";

const SETTINGS: &str = "Settings of a server that is started with --config and this path. No file \
                        is read without --config or ANYPORT_CONFIG.";

const PARTIAL: &str = "Partial file of an interrupted transfer, in the directory \
    that the file will \
                       be stored in.";

/// The date of the version.
const DATE: &str = "2026-11-21";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_the_help_of_every_flag() {
        // Without escapes and line breaks.
        let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
        fn check(command: &Command, letters: &impl Fn(&str) -> String) -> usize {
            let page = letters(&page(command).unwrap().replace(r"\*(Aq", "'"));
            let is_ours = |arg: &&clap::Arg| !arg.is_hide_set() && arg.get_id() != "help";
            let flags = command.get_arguments().filter(is_ours);
            let mut count = 0;
            for flag in flags {
                let help = flag.get_long_help().or_else(|| flag.get_help()).unwrap().to_string();
                let has = page.contains(&letters(&help));
                assert!(has, "{} lacks the help of {}", title(command), flag.get_id());
                count += 1;
            }
            count + shown(command).map(|command| check(command, letters)).sum::<usize>()
        }
        assert!(check(&program(), &letters) > 150);
    }
}
