//! The lines of pipes: sender, receiver, and result.

use super::error::PrefaceError;
use super::fields::{Fields, LineWriter, bad_value, split_word};
use crate::pipe::{Give, PipeKey, Piped, RECEIVERS, Take, parse_receivers};
use crate::transfer::codec::Reader;
use crate::transfer::codec::kind::{Bytes, Seconds, parse_decimal, round_to_micros};
use crate::transfer::percent;

/// Returns the line before the content of a sender, line feed included.
pub fn give_line(give: &Give) -> String {
    let mut line = LineWriter::new("PIPE");
    line.word(&percent::encode_name(give.key.as_str()));
    line.key("size", give.size);
    line.key("n", (give.receivers != 1).then_some(give.receivers));
    line.finish()
}

/// Returns the line that requests the content of a pipe, line feed included.
pub fn take_line(take: &Take) -> String {
    let mut line = LineWriter::new("TAKE");
    line.word(&percent::encode_name(take.key.as_str()));
    if take.head {
        line.word("head");
    }
    line.finish()
}

pub(super) fn parse_give(arguments: &str) -> Result<Give, PrefaceError> {
    let (key, rest) = parse_key(PIPE, arguments)?;
    let unknown = |key: &str, value: Option<&str>| {
        let word = value.map_or_else(|| key.to_owned(), |value| format!("{key}={value}"));
        unknown(PIPE, &word, "size=, n=")
    };
    let fields = Fields::of_request(PIPE, rest, (&["size", "n"], &[]), unknown)?;
    Ok(Give {
        key,
        size: fields.optional_value::<Bytes>("size")?,
        receivers: fields.optional("n", RECEIVERS, parse_receivers)?.unwrap_or(1),
    })
}

pub(super) fn parse_take(arguments: &str) -> Result<Take, PrefaceError> {
    let (key, rest) = parse_key(TAKE, arguments)?;
    let (word, rest) = split_word(rest);
    let head = match word {
        "" => return Ok(Take { key, head: false }),
        "head" => true,
        word => return Err(unknown(TAKE, word, "head")),
    };
    match split_word(rest).0 {
        "" => Ok(Take { key, head }),
        word => Err(unknown(TAKE, word, "head")),
    }
}

pub(super) fn write_piped(piped: &Piped) -> String {
    let mut line = LineWriter::new("PIPED");
    line.key("bytes", Some(piped.bytes));
    line.key("seconds", Some(round_to_micros(piped.seconds)));
    line.key("receivers", Some(piped.receivers));
    line.key("gone", (piped.gone > 0).then_some(piped.gone));
    line.finish()
}

pub(super) fn parse_piped(fields: &Fields<'_>) -> Result<Piped, PrefaceError> {
    let count = |text: &str| usize::try_from(parse_decimal(text)?).ok();
    Ok(Piped {
        bytes: fields.required_value::<Bytes>("bytes")?,
        seconds: fields.required_value::<Seconds>("seconds")?,
        receivers: fields.required("receivers", "a number of receivers", count)?,
        gone: fields.optional("gone", "a number of receivers", count)?.unwrap_or(0),
    })
}

/// Writes the line before the content, if it was requested.
pub(super) fn write_content(size: Option<u64>) -> String {
    let mut line = LineWriter::new("CONTENT");
    line.key("size", size);
    line.finish()
}

pub(super) fn parse_content(fields: &Fields<'_>) -> Result<Option<u64>, PrefaceError> {
    fields.optional_value::<Bytes>("size")
}

fn parse_key<'a>(
    line: &'static str,
    arguments: &'a str,
) -> Result<(PipeKey, &'a str), PrefaceError> {
    let (word, rest) = split_word(arguments);
    // If the key is missing, the error should not be about a bad character in it.
    if word.is_empty() || word.contains('=') {
        return Err(PrefaceError::NoPipe { line });
    }
    let key = percent::decode(word)
        .map_err(|_| bad_value(line, "key", word, "percent-encoded UTF-8"))?
        .parse::<PipeKey>()?;
    Ok((key, rest))
}

fn unknown(line: &'static str, word: &str, known: &'static str) -> PrefaceError {
    PrefaceError::UnknownWord { line, word: word.to_owned(), known }
}

/// Names of the lines in messages.
const PIPE: &str = "PIPE line";
const TAKE: &str = "TAKE line";

#[cfg(test)]
mod tests {
    use super::super::{Reply, Request, parse_request};
    use super::*;

    fn refused(line: &str) -> String {
        parse_request(line.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn lines_of_pipes_are_read_back() {
        let key = |key: &str| key.parse::<PipeKey>().unwrap();
        for (give, line) in [
            (Give { key: key("a"), size: None, receivers: 1 }, "ANYPORT/1 PIPE a\n"),
            (
                Give { key: key("a"), size: Some(7), receivers: 64 },
                "ANYPORT/1 PIPE a size=7 n=64\n",
            ),
        ] {
            assert_eq!(give_line(&give), line);
            assert_eq!(parse_request(line.trim_end().as_bytes()), Ok(Request::Give(give)));
        }
        for (head, line) in [(false, "ANYPORT/1 TAKE a.b\n"), (true, "ANYPORT/1 TAKE a.b head\n")] {
            let take = Take { key: key("a.b"), head };
            assert_eq!(take_line(&take), line);
            assert_eq!(parse_request(line.trim_end().as_bytes()), Ok(Request::Take(take)));
        }
        let bare = parse_request("ANYPORT/1 TAKE größe ".as_bytes());
        assert_eq!(bare, Ok(Request::Take(Take { key: key("größe"), head: false })));
        for reply in [
            Reply::Piped(Piped { bytes: 5, seconds: 0.25, receivers: 2, gone: 1 }),
            Reply::Piped(Piped { bytes: 0, seconds: 0.0, receivers: 1, gone: 0 }),
            Reply::Content { size: None },
            Reply::Content { size: Some(u64::MAX) },
        ] {
            let line = reply.to_line();
            assert_eq!(Reply::parse(line.trim_end().as_bytes()), Ok(reply), "{line}");
        }
    }

    #[test]
    fn the_error_of_a_pipe_line_names_the_word() {
        for line in ["ANYPORT/1 PIPE", "ANYPORT/1 PIPE size=5"] {
            assert_eq!(refused(line), "the PIPE line needs a key; expected ANYPORT/1 PIPE KEY");
        }
        assert!(refused("ANYPORT/1 TAKE").starts_with("the TAKE line needs a key; "));
        assert!(refused("ANYPORT/1 PIPE -a").contains("must begin with a letter or digit"));
        assert!(refused("ANYPORT/1 PIPE a n=65").contains("from 1 to 64"));
        assert!(refused("ANYPORT/1 PIPE a size=x").contains("bad value \"x\" for size"));
        assert!(refused("ANYPORT/1 PIPE a size=1 size=1").contains("given twice"));
        assert!(refused("ANYPORT/1 PIPE a n").contains("needs a value"));
        assert!(refused("ANYPORT/1 PIPE a b").contains("unknown word \"b\""));
        assert!(refused("ANYPORT/1 TAKE a head head").contains("unknown word \"head\""));
    }
}
