//! A listing in one JSON object, as HTTP has it, written and read one entry at a time.
//!
//! ```json
//! {"entries":[{"name":"a","kind":"file","size":1,"mtime":0,"mode":"644"}],
//!  "left_out":[],"end":{"entries":1}}
//! ```

use std::fmt;
use std::io::Read;

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::codec::json::{MessageError, Object};
use super::codec::kind::Entries;
use super::codec::{Reader, Record};
use super::download::{Entry, LeftOut, ListEnd};

/// A listing that is being written.
#[derive(Debug, Default)]
pub struct ListingWriter {
    has_entries: bool,
}

impl ListingWriter {
    /// Returns the text of the next entry.
    pub fn entry(&mut self, entry: &Entry) -> String {
        let before = if self.has_entries { "," } else { BEGIN };
        self.has_entries = true;
        format!("{before}\n{}", json(entry))
    }

    /// Returns the text after all entries.
    ///
    /// The entries that were left out are named and counted, if there are any.
    pub fn end(self, left_out: &[LeftOut], end: &ListEnd) -> String {
        let begin = if self.has_entries { "" } else { BEGIN };
        match end.words() {
            None => format!("{begin}\n]}}\n"),
            Some(_) => {
                let (left_out, end) = (json(left_out), json(end));
                format!("{begin}\n],\n\"left_out\":{left_out},\n\"end\":{end}}}\n")
            }
        }
    }
}

fn json(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("keys are strings")
}

const BEGIN: &str = "{\"entries\":[";

/// A part of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// A file or a directory.
    Entry(Entry),
    /// An entry that cannot be requested.
    LeftOut(LeftOut),
}

/// Reads a listing and passes each part to `each`, which returns false to stop.
///
/// Keys that are not known are ignored. Returns the counts, if the listing has them. No memory is
/// used beyond that of one part, so the length of a part is the caller's to limit.
///
/// # Errors
/// `json` cannot be read, is not a JSON object with entries, one of its parts is invalid, or `each`
/// stopped.
pub fn read_listing(
    json: impl Read,
    each: &mut dyn FnMut(Listed) -> bool,
) -> Result<Option<ListEnd>, MessageError> {
    let mut json = serde_json::Deserializer::from_reader(json);
    let end = json.deserialize_map(Whole { each });
    let end = end.and_then(|end| json.end().map(|()| end));
    end.map_err(|error| MessageError::NotJson { reason: error.to_string() })
}

struct Whole<'a> {
    each: &'a mut dyn FnMut(Listed) -> bool,
}

impl<'de> Visitor<'de> for Whole<'_> {
    type Value = Option<ListEnd>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a listing")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut end, mut has_entries) = (None, false);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "entries" => {
                    has_entries = true;
                    map.next_value_seed(Parts {
                        kind: "entries",
                        read: &mut |object| {
                            Entry::read(object).map(|entry| (self.each)(Listed::Entry(entry)))
                        },
                    })?;
                }
                "left_out" => map.next_value_seed(Parts {
                    kind: "left_out",
                    read: &mut |object| {
                        LeftOut::read(object).map(|one| (self.each)(Listed::LeftOut(one)))
                    },
                })?,
                "end" => {
                    let value: Option<Value> = map.next_value()?;
                    let read = |value| {
                        let object = Object::new("end", value)?;
                        let entries = object.optional_value::<Entries>("entries")?;
                        entries.map(|_| ListEnd::read(&object)).transpose()
                    };
                    end = value.map(read).transpose().map_err(A::Error::custom)?.flatten();
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if has_entries { Ok(end) } else { Err(A::Error::missing_field("entries")) }
    }
}

/// The elements of one array, each of which is dropped before the next one is read.
struct Parts<'a> {
    kind: &'static str,
    /// Returns false to stop.
    read: &'a mut dyn FnMut(&Object) -> Result<bool, MessageError>,
}

impl<'de> DeserializeSeed<'de> for Parts<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Parts<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of {}", self.kind)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(value) = elements.next_element::<Value>()? {
            let object = Object::new(self.kind, value).map_err(A::Error::custom)?;
            if !(self.read)(&object).map_err(A::Error::custom)? {
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transfer::download::LeftOutReason;
    use crate::transfer::download::tests::any_entry;

    proptest! {
        #[test]
        fn a_listing_is_read_as_it_is_written(
            entries in prop::collection::vec(any_entry(), 0..4),
            names: Vec<Vec<u8>>,
        ) {
            let reason = LeftOutReason::Name;
            let left_out: Vec<_> = names.iter().map(|name| LeftOut::new(name, reason)).collect();
            let mut end = ListEnd { entries: entries.len() as u64, ..ListEnd::default() };
            left_out.iter().for_each(|_| end.count(reason));
            let (mut writer, mut json) = (ListingWriter::default(), String::new());
            entries.iter().for_each(|entry| json.push_str(&writer.entry(entry)));
            json.push_str(&writer.end(&left_out, &end));
            let mut listed = Vec::new();
            let found = read_listing(json.as_bytes(), &mut |one| {
                listed.push(one);
                true
            });
            let entries = entries.into_iter().map(Listed::Entry);
            let left_out = left_out.into_iter().map(Listed::LeftOut);
            let expected: Vec<_> = entries.chain(left_out).collect();
            prop_assert_eq!(listed, expected);
            prop_assert_eq!(found, Ok(end.words().map(|_| end)));
        }
    }

    const ENTRY: &str = r#"{"name":"a/b","kind":"file","size":1,"mtime":0,"mode":"644"}"#;

    fn parts(json: &str) -> Result<(usize, usize, Option<ListEnd>), MessageError> {
        let (mut entries, mut left_out) = (0, 0);
        let end = read_listing(json.as_bytes(), &mut |listed| {
            match listed {
                Listed::Entry(_) => entries += 1,
                Listed::LeftOut(_) => left_out += 1,
            }
            true
        })?;
        Ok((entries, left_out, end))
    }

    #[test]
    fn a_listing_is_read_whatever_the_order_of_its_keys() {
        let left_out = r#""left_out":[{"name_raw":"%0A","reason":"name","more":[]}]"#;
        let end = r#""end":{"entries":2,"left_out":1}"#;
        let entries = format!("\"entries\":[{ENTRY},\n{ENTRY}]");
        let counts = Some(ListEnd { entries: 2, left_out: Some(1), links: None });
        for order in [[&entries, left_out, end], [end, left_out, &entries]] {
            let json = format!("{{\"later\":{{\"x\":[1]}},{}}}\n", order.join(","));
            assert_eq!(parts(&json).unwrap(), (2, 1, counts), "{json}");
        }
        assert_eq!(parts("{\"entries\":[]}").unwrap(), (0, 0, None));
    }

    #[test]
    fn an_invalid_listing_is_refused() {
        for json in [
            "",
            "[]",
            "{}",
            "{\"entries\":{}}",
            "{\"entries\":[0,",
            "{\"entries\":[{\"name\":\"../x\"}]}",
            "{\"entries\":[]} x",
            "{\"entries\":[],\"end\":0}",
        ] {
            assert!(parts(json).is_err(), "{json}");
        }
    }

    #[test]
    fn reading_stops_at_the_part_that_is_not_wanted() {
        let json = format!("{{\"entries\":[{ENTRY},{ENTRY}");
        let mut count = 0;
        let stopped = read_listing(json.as_bytes(), &mut |_| {
            count += 1;
            false
        });
        assert!(stopped.is_err() && count == 1);
    }
}
