//! Input of a chat: typed or piped lines.

use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Context;
use anyport_console::{lines_to_stdout, to_stderr};
use anyport_net::waiting::Waiting;
use anyport_proto::limits::Limits;
use anyport_proto::rooms::{Command, CommandError, Event, HELP, Line};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Config, Editor, ExternalPrinter};
use tokio::sync::mpsc::Sender;

type Lines = Editor<(), MemHistory>;

/// Prints above the line that is being typed.
pub(super) type Printer = Box<dyn ExternalPrinter>;

/// The source of lines.
pub(super) enum Input {
    Terminal {
        editor: Box<Lines>,
        before: Termios,
    },
    /// Input without line editing; `commands` if it is a terminal, so `/` begins a command.
    Stream {
        commands: bool,
    },
}

/// The way in which input ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Done,
    /// Except for this many lines.
    LinesSkipped(usize),
    /// By Ctrl-C.
    Interrupted,
}

/// A running input thread.
pub(super) struct Reading {
    interrupted: Arc<AtomicBool>,
    /// Lines that could not be sent.
    skipped: Arc<AtomicUsize>,
    /// The original terminal settings, and whether the editor has restored them.
    terminal: Option<(Termios, Arc<AtomicBool>)>,
}

impl Input {
    /// Opens stdin. If `edits`, with a line editor, and a printer that writes above its line.
    pub(super) fn open(edits: bool) -> anyhow::Result<(Self, Option<Printer>)> {
        if !edits {
            return Ok((Self::Stream { commands: io::stdin().is_terminal() }, None));
        }
        let before = tcgetattr(io::stdin()).context("cannot read the terminal settings")?;
        // Each line that is pasted is a message.
        let config = Config::builder().bracketed_paste(false).auto_add_history(true).build();
        let editor = Lines::with_history(config, MemHistory::new());
        let mut editor = editor.context("cannot edit lines on this terminal")?;
        let printer =
            editor.create_external_printer().context("cannot print above the input line")?;
        let input = Self::Terminal { editor: Box::new(editor), before };
        Ok((input, Some(Box::new(printer))))
    }

    /// Reads on a thread of its own, until the end. Lines wait there until the room accepts them.
    pub(super) fn start(self, queue: Sender<Command>) -> Reading {
        let interrupted = Arc::new(AtomicBool::new(false));
        let was_interrupted = interrupted.clone();
        let skipped = Arc::new(AtomicUsize::new(0));
        let were_skipped = skipped.clone();
        match self {
            Self::Terminal { editor, before } => {
                let left = Arc::new(AtomicBool::new(false));
                let has_left = left.clone();
                std::thread::spawn(move || {
                    let ending = edit(*editor, &queue);
                    was_interrupted.store(ending == Ending::Interrupted, Ordering::Release);
                    has_left.store(true, Ordering::Release);
                    drop(queue);
                });
                Reading { interrupted, skipped, terminal: Some((before, left)) }
            }
            Self::Stream { commands } => {
                std::thread::spawn(move || stream(commands, &queue, &were_skipped));
                Reading { interrupted, skipped, terminal: None }
            }
        }
    }
}

impl Reading {
    /// Restores the terminal, if the editor is in the middle of a line; returns how input ended.
    pub(super) fn stop(self) -> Ending {
        if let Some((before, left)) = self.terminal
            && !left.load(Ordering::Acquire)
        {
            // An error means that the terminal is gone.
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &before);
            to_stderr("");
        }
        match self.skipped.load(Ordering::Acquire) {
            _ if self.interrupted.load(Ordering::Acquire) => Ending::Interrupted,
            0 => Ending::Done,
            lines => Ending::LinesSkipped(lines),
        }
    }
}

/// Dropping the editor at the end notifies its printer that there is no input line any more.
fn edit(mut editor: Lines, queue: &Sender<Command>) -> Ending {
    loop {
        let line = match editor.readline("> ") {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => return Ending::Interrupted,
            // Ctrl-D, or a terminal that is gone.
            Err(_) => return Ending::Done,
        };
        // Between two lines nothing else writes to the terminal.
        let mut print = |text: &str| {
            let _ = lines_to_stdout(text);
        };
        if !typed(line.as_bytes(), queue, &mut print) {
            return Ending::Done;
        }
    }
}

fn stream(commands: bool, queue: &Sender<Command>, skipped: &AtomicUsize) {
    let mut input = BufReader::new(Waiting(io::stdin()));
    let most = Limits::default().room_message;
    // A longer line is discarded, and never buffered.
    let longest = most as u64 + 2;
    let mut line = Vec::new();
    loop {
        line.clear();
        match input.by_ref().take(longest).read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                skipped.fetch_add(1, Ordering::Release);
                return to_stderr(&format!("error: cannot read standard input: {error}"));
            }
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() as u64 == longest && input.skip_until(b'\n').is_err() {
            return;
        }
        let continues = if commands {
            typed(&line, queue, &mut to_stderr)
        } else {
            piped(&line, most, queue, skipped)
        };
        if !continues {
            return;
        }
    }
}

/// Handles a typed line. Returns `false` if the chat has ended.
fn typed(line: &[u8], queue: &Sender<Command>, print: &mut dyn FnMut(&str)) -> bool {
    match Command::from_line(line, Limits::default().room_message) {
        Ok(Line::Nothing) => true,
        Ok(Line::Help) => {
            HELP.iter().for_each(|line| print(line));
            print("* press Ctrl-D to leave");
            true
        }
        Ok(Line::Command(words)) => queue.blocking_send(words).is_ok(),
        Err(error) => {
            print(&Event::Error(error.refusal()).to_text());
            true
        }
    }
}

/// Handles a line of a program, which is sent unchanged, also with a slash at its front.
fn piped(line: &[u8], most: usize, queue: &Sender<Command>, skipped: &AtomicUsize) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match Command::say(String::from_utf8_lossy(line).into_owned(), None, most) {
        Ok(words) => queue.blocking_send(words).is_ok(),
        Err(CommandError::Empty) => true,
        Err(error) => {
            skipped.fetch_add(1, Ordering::Release);
            to_stderr(&Event::Error(error.refusal()).to_text());
            true
        }
    }
}
