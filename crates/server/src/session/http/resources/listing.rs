//! A listing as text, as JSON, and as a page, written entry by entry.

use anyport_proto::transfer::download::{Entry, EntryKind, LeftOut, ListEnd};
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::listing::ListingWriter;
use http::header::{self, HeaderName};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::session::http::answer::{Form, HTML, JSON, TEXT_UTF8};

/// A listing that is being written.
pub(crate) struct Page {
    form: Form,
    path: Option<FilePath>,
    begun: bool,
    json: ListingWriter,
    /// Entries that were left out, which JSON names at its end; at most [`MOST_NAMED`].
    left_out: Vec<LeftOut>,
}

impl Page {
    pub(super) fn new(form: Form, path: Option<FilePath>) -> Self {
        Self { form, path, begun: false, json: ListingWriter::default(), left_out: Vec::new() }
    }

    pub(super) fn fields(&self) -> Vec<(HeaderName, String)> {
        let media = match self.form {
            Form::Text => TEXT_UTF8.to_owned(),
            Form::Json => JSON.to_owned(),
            Form::Html => format!("{HTML}; charset=utf-8"),
        };
        let mut fields =
            vec![(header::CONTENT_TYPE, media), (header::VARY, header::ACCEPT.to_string())];
        if self.form == Form::Html {
            // A second defense: names are escaped.
            fields.push((header::CONTENT_SECURITY_POLICY, NOTHING_RUNS.to_owned()));
        }
        fields
    }

    fn open(&self) -> String {
        let place = self.path.as_ref().map_or_else(|| "/".to_owned(), |path| format!("/{path}/"));
        match self.form {
            Form::Text | Form::Json => String::new(),
            Form::Html => {
                let place = escaped(&place);
                let up = self.path.as_ref().map_or_else(String::new, |path| {
                    let parent = path.parent().map_or_else(String::new, |parent| {
                        format!("{}/", parent.percent_encoded())
                    });
                    format!("<p><a href=\"/files/{parent}\">up</a></p>\n")
                });
                format!(
                    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
                     <meta name=\"viewport\" content=\"width=device-width\">\
                     <title>{place}</title></head>\n\
                     <body><h1>{place}</h1>\n{up}<table>\n"
                )
            }
        }
    }

    /// Writes entries. Those that were left out are kept for the end.
    pub(crate) fn listed(&mut self, entries: &[Entry], left_out: Vec<LeftOut>) -> String {
        let room = MOST_NAMED - self.left_out.len();
        self.left_out.extend(left_out.into_iter().take(room));
        let mut text = if self.begun { String::new() } else { self.open() };
        self.begun = true;
        for entry in entries {
            match self.form {
                Form::Text => text.push_str(&line(entry)),
                Form::Json => text.push_str(&self.json.entry(entry)),
                Form::Html => text.push_str(&row(entry)),
            }
        }
        text
    }

    /// Writes the end.
    pub(crate) fn close(&mut self, end: &ListEnd) -> String {
        let words = end.words();
        let mut text = self.listed(&[], Vec::new());
        let close = match (self.form, words) {
            (Form::Text, None) => String::new(),
            (Form::Text, Some(words)) => format!("({words})\n"),
            (Form::Json, _) => std::mem::take(&mut self.json).end(&self.left_out, end),
            (Form::Html, None) => "</table></body></html>\n".to_owned(),
            (Form::Html, Some(words)) => format!("</table><p>{words}</p></body></html>\n"),
        };
        text.push_str(&close);
        text
    }
}

/// Returns size, time and name as `anyport ls` prints them; a directory has a slash and no size.
fn line(entry: &Entry) -> String {
    let (size, time, slash) = columns(entry);
    let name = FilePath::from(entry.name.file_name()).typed();
    format!("{size:>14}  {time:26}  {name}{slash}\n")
}

/// Returns a row of a page. Its link is absolute: a file may have the name of another resource.
fn row(entry: &Entry) -> String {
    let (size, time, slash) = columns(entry);
    let name = entry.name.file_name().to_string();
    let (link, name) = (entry.name.percent_encoded(), escaped(&name));
    format!(
        "<tr><td align=\"right\">{size}</td><td>{time}</td><td><a \
        href=\"/files/{link}{slash}\">{name}{slash}</a></td></tr>\n"
    )
}

fn columns(entry: &Entry) -> (String, String, &'static str) {
    let size = entry.size.map_or_else(|| "-".to_owned(), |size| size.to_string());
    let time = local_time(entry.mtime.seconds);
    let slash = if entry.kind == EntryKind::Directory { "/" } else { "" };
    (size, time, slash)
}

/// Returns a time in this server's zone, with the offset.
fn local_time(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(
        |_| "?".to_owned(),
        |time| time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string(),
    )
}

/// Escapes text for elements and quoted attributes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Maximum number of omitted entries that a listing names; further ones are counted. They are
/// buffered until the listing ends.
const MOST_NAMED: usize = 1000;

const NOTHING_RUNS: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[cfg(test)]
mod tests {
    use anyport_proto::transfer::download::LeftOutReason;
    use anyport_proto::transfer::listing::{Listed, read_listing};

    use super::*;

    fn entry(name: &str, size: Option<u64>) -> Entry {
        let kind = if size.is_some() { EntryKind::File } else { EntryKind::Directory };
        Entry {
            name: FilePath::parse(name).unwrap(),
            kind,
            size,
            mtime: 784_111_777.into(),
            mode: 0o644,
        }
    }

    fn written(form: Form) -> String {
        let mut page = Page::new(form, Some(FilePath::parse("d").unwrap()));
        let mut text = page.listed(&[entry("d/<a&\"b'>", Some(5))], Vec::new());
        text.push_str(&page.listed(&[entry("d/e", None)], Vec::new()));
        text + &page.close(&ListEnd::default())
    }

    #[test]
    fn a_listing_is_lines_for_people() {
        let time = local_time(784_111_777);
        let expected = format!("             5  {time}  <a&\"b'>\n             -  {time}  e/\n");
        assert_eq!(written(Form::Text), expected);
    }

    #[test]
    fn a_listing_is_one_object_for_programs() {
        let json: serde_json::Value = serde_json::from_str(&written(Form::Json)).unwrap();
        assert_eq!(json["entries"][0]["name"], "d/<a&\"b'>");
        assert_eq!(json["entries"][1]["kind"], "directory");
    }

    #[test]
    fn a_listing_names_a_bounded_number_of_entries_that_it_left_out() {
        let mut page = Page::new(Form::Json, None);
        let left_out = LeftOut::new(b"a\n", LeftOutReason::Name);
        let mut text = String::new();
        for _ in 0..3 {
            text.push_str(&page.listed(&[], vec![left_out.clone(); 500]));
        }
        text += &page.close(&ListEnd { entries: 0, left_out: Some(1500), links: None });
        let mut named = 0;
        let end = read_listing(text.as_bytes(), &mut |listed| {
            named += 1;
            listed == Listed::LeftOut(left_out.clone())
        });
        assert_eq!((named, end.unwrap().unwrap().left_out), (MOST_NAMED, Some(1500)));
    }

    #[test]
    fn ht_11_names_on_a_page_are_text_and_nothing_else() {
        let page = written(Form::Html);
        let link = "<a href=\"/files/d/%3Ca%26%22b%27%3E\">&lt;a&amp;&quot;b&#39;&gt;</a>";
        assert!(page.contains(link), "{page}");
        assert!(page.contains("<a href=\"/files/d/e/\">e/</a>"), "{page}");
        assert!(page.contains("<a href=\"/files/\">up</a>"), "{page}");
    }
}
