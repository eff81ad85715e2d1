//! A listing as text, as JSON, and as a page, written entry by entry.

use anyport_proto::transfer::download::{Entry, EntryKind, LeftOut, ListEnd};
use anyport_proto::transfer::file_name;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::listing::ListingWriter;
use anyport_proto::transfer::units::format_bytes;
use anyport_proto::visible::make_visible;
use http::StatusCode;
use http::header::{self, HeaderName};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::commands::Commands;
use crate::access::Operation;
use crate::session::http::answer::{Answer, Form, JSON, Length, TEXT_UTF8, VARY};
use crate::session::http::handler::Request;
use crate::session::http::page::{self, Frame, Purpose, escaped};

/// A listing that is being written.
pub(crate) struct Page {
    form: Form,
    place: Place,
    begun: bool,
    /// The table of a page has begun.
    has_rows: bool,
    json: ListingWriter,
    /// Entries that were left out, which JSON names at its end; at most [`MOST_NAMED`].
    left_out: Vec<LeftOut>,
}

/// The directory of a listing, as its page shows it.
pub(super) struct Place {
    path: Option<FilePath>,
    frame: Frame,
    /// The command that uploads a file; `None` if clients may not.
    command: Option<String>,
}

impl Place {
    /// Returns the directory `path`, for a client that requests it.
    pub(super) fn of(request: &Request<'_>, path: Option<FilePath>) -> Self {
        let Request { context, head, asked, .. } = request;
        let may_write = context.grant.check(Operation::Upload, path.as_ref()).is_ok();
        let command = may_write.then(|| Commands::of(context, head, path.as_ref()).curl());
        Self { path, frame: asked.page.clone(), command }
    }

    /// Returns the beginning of a page: the path, a link to each directory above, and the form.
    fn begin(&self) -> String {
        let words = page::words(self.frame.language);
        let names: Vec<String> =
            self.path.iter().flat_map(FilePath::components).map(shown).collect();
        let title = if names.is_empty() { words.files.to_owned() } else { names.join("/") };
        let mut text = self.frame.begin(&title, Purpose::Page);
        text.push_str("<h1>");
        for (at, name) in std::iter::once(words.files.to_owned()).chain(names.clone()).enumerate() {
            let (name, above) = (escaped(&name), names.len() - at);
            let slash = if at == 0 { "" } else { " <i>/</i> " };
            text.push_str(&match above {
                0 => format!("{slash}<bdi>{name}</bdi>"),
                _ => format!("{slash}<a href=\"{}\"><bdi>{name}</bdi></a>", "../".repeat(above)),
            });
        }
        text.push_str("</h1>\n");
        if self.command.is_some() {
            text.push_str(&format!(
                "<form method=\"post\" enctype=\"multipart/form-data\" action=\"./\">\
                 <input type=\"file\" name=\"file\" multiple required aria-label=\"{}\">\
                 <button>{}</button></form>\n",
                words.choose, words.upload
            ));
        }
        if self.path.is_some() {
            text.push_str(&format!("<p><a href=\"../\">↑ {}</a></p>\n", words.up));
        }
        text
    }

    /// Returns the page of a client that may upload here and not list.
    pub(super) fn without_list(&self) -> Option<Answer> {
        let may_write = self.command.is_some();
        let page = may_write.then(|| self.begin() + page::END)?;
        let answer = Answer::head(StatusCode::OK, Length::Known(page.len() as u64));
        let fields = self.frame.fields().into_iter();
        let answer = fields.fold(answer, |answer, (name, value)| answer.with(name, value));
        Some(Answer { content: page.into(), ..answer }.with(header::CACHE_CONTROL, "no-cache"))
    }

    /// Returns the head of the table.
    fn head(&self) -> String {
        let words = page::words(self.frame.language);
        format!(
            "<table><thead><tr><th>{}</th><th class=\"s\">{}</th><th class=\"t\">{}</th></tr>\
             </thead><tbody>\n",
            words.name, words.size, words.modified
        )
    }

    /// Returns a row of the table.
    fn row(&self, entry: &Entry) -> String {
        let (_, time, slash) = columns(entry);
        // At `/` and `/files` an entry may have the name of another resource.
        let below = if self.path.is_none() && self.frame.depth == 0 { "files/" } else { "" };
        let (link, name) = (entry.name.file_name().percent_encoded(), shown_name(entry));
        let class = if slash.is_empty() { "" } else { " class=\"d\"" };
        let size = entry.size.map_or_else(
            || "<td class=\"s\"></td>".to_owned(),
            |size| {
                let bytes = page::words(self.frame.language).bytes;
                format!("<td class=\"s\" title=\"{size} {bytes}\">{}</td>", format_bytes(size))
            },
        );
        let minutes = time.get(..16).unwrap_or(&time);
        format!(
            "<tr><td{class}><a href=\"{below}{link}{slash}\"><bdi>{name}</bdi>{slash}</a></td>\
             {size}<td class=\"t\" title=\"{time}\">{minutes}</td></tr>\n"
        )
    }

    /// Returns the end of a page.
    fn end(&self, has_rows: bool, end: &ListEnd) -> String {
        let words = page::words(self.frame.language);
        let mut text = String::new();
        match &self.command {
            _ if has_rows => text.push_str("</tbody></table>\n"),
            None => text.push_str(&format!("<p>{}</p>\n", words.empty)),
            Some(command) => {
                let command = escaped(command);
                text.push_str(&format!("<p>{}</p>\n<pre>{command}</pre>\n", words.empty));
            }
        }
        let left_out = if self.frame.language == "ko" { korean(end) } else { end.words() };
        if let Some(left_out) = left_out {
            text.push_str(&format!("<p class=\"note\">{left_out}</p>\n"));
        }
        let (root, more) = (page::root(self.frame.depth), words.more);
        text.push_str(&format!("<footer><a href=\"{root}help\">{more}</a></footer>\n"));
        text + page::END
    }
}

impl Page {
    pub(super) fn new(form: Form, place: Place) -> Self {
        let (json, left_out) = (ListingWriter::default(), Vec::new());
        Self { form, place, begun: false, has_rows: false, json, left_out }
    }

    pub(super) fn fields(&self) -> Vec<(HeaderName, String)> {
        let media = match self.form {
            Form::Text => TEXT_UTF8,
            Form::Json => JSON,
            Form::Html => return self.place.frame.fields().into(),
        };
        vec![(header::CONTENT_TYPE, media.to_owned()), (header::VARY, VARY.to_owned())]
    }

    /// Writes entries. Those that were left out are kept for the end.
    pub(crate) fn listed(&mut self, entries: &[Entry], left_out: Vec<LeftOut>) -> String {
        let room = MOST_NAMED - self.left_out.len();
        self.left_out.extend(left_out.into_iter().take(room));
        let mut text = String::new();
        if self.form == Form::Html {
            if !std::mem::replace(&mut self.begun, true) {
                text.push_str(&self.place.begin());
            }
            if !entries.is_empty() && !std::mem::replace(&mut self.has_rows, true) {
                text.push_str(&self.place.head());
            }
        }
        for entry in entries {
            match self.form {
                Form::Text => text.push_str(&line(entry)),
                Form::Json => text.push_str(&self.json.entry(entry)),
                Form::Html => text.push_str(&self.place.row(entry)),
            }
        }
        text
    }

    /// Writes the end.
    pub(crate) fn close(&mut self, end: &ListEnd) -> String {
        let mut text = self.listed(&[], Vec::new());
        let close = match (self.form, end.words()) {
            (Form::Text, None) => String::new(),
            (Form::Text, Some(words)) => format!("({words})\n"),
            (Form::Json, _) => std::mem::take(&mut self.json).end(&self.left_out, end),
            (Form::Html, _) => self.place.end(self.has_rows, end),
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

fn columns(entry: &Entry) -> (String, String, &'static str) {
    let size = entry.size.map_or_else(|| "-".to_owned(), |size| size.to_string());
    let time = local_time(entry.mtime.seconds);
    let slash = if entry.kind == EntryKind::Directory { "/" } else { "" };
    (size, time, slash)
}

/// Returns a name for people: bytes that are no text and characters that are not visible escaped.
pub(super) fn shown(name: &[u8]) -> String {
    make_visible(&file_name::escaped(name)).into_owned()
}

fn shown_name(entry: &Entry) -> String {
    escaped(&shown(entry.name.file_name().as_bytes()))
}

/// Returns the note about omitted entries in Korean.
fn korean(end: &ListEnd) -> Option<String> {
    let counted = |count: Option<u64>, words| {
        count.filter(|count| *count > 0).map(|count| format!("{words} {count}개"))
    };
    let left_out = counted(end.left_out, "표시하지 않은 항목");
    let links = counted(end.links, "따라가지 않은 심볼릭 링크");
    let notes: Vec<String> = left_out.into_iter().chain(links).collect();
    (!notes.is_empty()).then(|| notes.join(", "))
}

/// Returns a time in this server's zone, with the offset.
pub(super) fn local_time(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(
        |_| "?".to_owned(),
        |time| time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string(),
    )
}

/// Maximum number of omitted entries that a listing names; further ones are counted. They are
/// buffered until the listing ends.
const MOST_NAMED: usize = 1000;

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
        let mut page = Page::new(form, place(Some("d"), 2));
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
        let mut page = Page::new(Form::Json, place(None, 0));
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
        let link = "<a href=\"%3Ca%26%22b%27%3E\"><bdi>&lt;a&amp;&quot;b&#39;&gt;</bdi></a>";
        assert!(page.contains(link), "{page}");
        assert!(page.contains("<a href=\"e/\"><bdi>e</bdi>/</a>"), "{page}");
        assert!(page.contains("<h1><a href=\"../\"><bdi>Files</bdi></a> <i>/</i> <bdi>d</bdi>"));
        assert!(page.contains("<a href=\"../../help\">"), "{page}");
        for name in ["a\u{202e}txt.exe".as_bytes(), b"\x1b[2J", b"caf\xe9", b"\x9b"] {
            let shown = shown(name);
            assert!(shown.starts_with(['a', '\\', 'c']) && shown.contains('\\'), "{shown}");
            assert!(make_visible(&shown) == shown && !shown.contains('\u{202e}'), "{shown}");
        }
    }

    /// `/` has other resources beside the files: an entry of that name is below `/files/`.
    #[test]
    fn links_of_a_listing_are_relative_and_lead_to_files() {
        for (path, depth, link) in [
            (None, 0, "files/help"),
            (None, 1, "help"),
            (Some("d"), 1, "help"),
            (Some("d"), 2, "help"),
        ] {
            let row = place(path, depth).row(&entry("help", Some(5)));
            assert!(row.contains(&format!("<a href=\"{link}\">")), "{row}");
        }
    }

    #[test]
    fn an_empty_directory_says_so_in_both_languages() {
        let command = Some("curl -T FILE http://h/".to_owned());
        let mut page = Page::new(Form::Html, Place { command, ..place(None, 0) });
        let text = page.close(&ListEnd::default());
        assert!(text.contains("<p>No files yet.</p>\n<pre>curl -T FILE http://h/</pre>"), "{text}");
        assert!(text.contains("<form ") && !text.contains("<table>"), "{text}");
        let mut page = Page::new(
            Form::Html,
            Place { frame: Frame { language: "ko", ..Frame::DEFAULT }, ..place(None, 0) },
        );
        let text = page.close(&ListEnd { entries: 0, left_out: Some(2), links: None });
        assert!(text.contains("<p>아직 파일이 없습니다.</p>"), "{text}");
        assert!(text.contains("항목 2개") && !text.contains("<form "), "{text}");
    }

    fn place(path: Option<&str>, depth: usize) -> Place {
        let path = path.map(|path| FilePath::parse(path).unwrap());
        Place { path, frame: Frame { depth, ..Frame::DEFAULT }, command: None }
    }
}
