//! Output of a chat: as lines, as JSON, or above the input line.

use std::io;

use anyport_client::ChatEvent;
use anyport_console::{json_to_stdout, reason, to_stderr, to_stdout, write_stdout};
use anyport_proto::rooms::{Event, Message, make_visible};

use super::input::Printer;

/// Prints events.
pub(super) struct Output {
    json: bool,
    printer: Option<Printer>,
    colours: bool,
}

impl Output {
    pub(super) fn new(json: bool, printer: Option<Printer>) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let colours = printer.is_some() && !refused && !dumb;
        Self { json, printer, colours }
    }

    pub(super) fn tell(&mut self, notification: ChatEvent<'_>) -> io::Result<()> {
        match notification {
            ChatEvent::Event(event) if self.json => json_to_stdout(&event.to_json()),
            ChatEvent::Own(message) if self.json => {
                json_to_stdout(&Event::Message(message.clone()).to_json())
            }
            ChatEvent::Event(event @ Event::Message(message)) => {
                let line = if self.colours { coloured(message) } else { event.to_text() };
                self.message(line)
            }
            ChatEvent::Event(event) => self.notice(&event.to_text()),
            // Its sender has it on the screen.
            ChatEvent::Own(_) => Ok(()),
            ChatEvent::Retrying(error, delay) => {
                let reason = reason(error);
                self.notice(&format!("* {}; retrying in {delay:?}", make_visible(&reason)))
            }
            ChatEvent::Back(0) => self.notice("* reconnected"),
            ChatEvent::Back(count) => {
                self.notice(&format!("* reconnected; sending {count} unconfirmed messages again"))
            }
            _ => Ok(()),
        }
    }

    fn message(&mut self, line: String) -> io::Result<()> {
        if self.printer.is_some() { self.above(line) } else { to_stdout(&line) }
    }

    fn notice(&mut self, line: &str) -> io::Result<()> {
        if self.printer.is_none() {
            to_stderr(line);
            return Ok(());
        }
        let line = if self.colours { format!("\u{1b}[2m{line}\u{1b}[0m") } else { line.to_owned() };
        self.above(line)
    }

    fn above(&mut self, mut line: String) -> io::Result<()> {
        line.push('\n');
        // Without an editor there is no line that could be torn.
        let printed =
            self.printer.as_mut().is_some_and(|printer| printer.print(line.clone()).is_ok());
        if printed {
            return Ok(());
        }
        write_stdout(&line)
    }
}

/// Returns the sender's name in a colour of its own, which it keeps.
fn coloured(message: &Message) -> String {
    let sum = message
        .from
        .as_str()
        .bytes()
        .fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let colour = COLOURS[sum as usize % COLOURS.len()];
    let (from, text) = (&message.from, make_visible(&message.text));
    format!("\u{1b}[{colour}m{from}\u{1b}[0m: {text}")
}

/// Those that are seen on dark and on light ground.
const COLOURS: [u8; 6] = [31, 32, 33, 34, 35, 36];

#[cfg(test)]
mod tests {
    use super::*;

    fn message(from: &str, text: &str) -> Message {
        let (id, from) = ("k3f9c2-1".parse().unwrap(), from.parse().unwrap());
        Message { id, from, text: text.to_owned(), time: String::new(), key: None }
    }

    #[test]
    fn a_nickname_keeps_its_colour_and_a_text_has_none() {
        let line = coloured(&message("bob", "\u{1b}[31mred\n* alice left"));
        assert!(line.ends_with("bob\u{1b}[0m: ␛[31mred␊* alice left"), "{line:?}");
        assert_eq!(coloured(&message("bob", "a")), coloured(&message("bob", "a")));
        let names = ["alice", "bob", "carol", "dave", "erin", "frank"];
        let colours: std::collections::HashSet<String> =
            names.iter().map(|name| coloured(&message(name, ""))[..5].to_owned()).collect();
        assert!(colours.len() > 1, "{colours:?}");
    }
}
