//! `POST` of forms with files (`curl -F file=@NAME`, browsers) to a directory: each file is stored
//! as by a PUT, and the response has the receipt or the refusal of each.

use std::time::{Duration, Instant};

use anyport_net::copy::{Interest, Placement};
use anyport_proto::form::{Event as FormEvent, FormReader, Part};
use anyport_proto::limits::{Limits, MAX_DISCARDED};
use anyport_proto::one_line::COLUMNS;
use anyport_proto::transfer::file_path::{FilePath, decoded, encoded_bytes};
use anyport_proto::transfer::messages::FileReply;
use anyport_proto::transfer::offer::{End, Offer, OnExists};
use anyport_proto::transfer::receipt::{EndKind, Receipt};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http::header;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::upload::{location_of, overwrites};
use crate::access::Operation;
use crate::address::counted_as;
use crate::budget::Share;
use crate::service::files::{Source, Upload};
use crate::session::Context;
use crate::session::http::answer::{Answer, Asked, Form};
use crate::session::http::handler::{Event, Handler, Next, Opened, Request, refuse};
use crate::session::http::page;
use crate::session::idle_reason;

/// The media type of forms with files.
const MEDIA: &str = "multipart/form-data";

/// Returns whether a request sends a form to a directory.
pub(super) fn is_form(request: &Request<'_>) -> bool {
    let media = request.head.fields.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    let media = media.and_then(|media| media.split(|byte| *byte == b';').next());
    request.head.method == Method::POST
        && media.is_some_and(|media| media.trim_ascii().eq_ignore_ascii_case(MEDIA.as_bytes()))
        && (request.rest.is_empty() || request.rest.ends_with('/'))
}

/// Begins to receive the files of a form.
pub(super) fn open(request: &Request<'_>) -> Opened {
    begin(request).map_or_else(Opened::Answer, Opened::handler)
}

fn begin(request: &Request<'_>) -> Result<FormUpload, Answer> {
    let Request { context, head, asked, rest, .. } = *request;
    let bad =
        |code, reason: String| request.refuse(StatusCode::BAD_REQUEST, Refusal::new(code, reason));
    let media = head.fields.get(header::CONTENT_TYPE).map_or(&[][..], |value| value.as_bytes());
    let reader = FormReader::new(media, &Limits::default());
    let reader = reader.map_err(|error| bad(RefusalCode::BadRequest, error.to_string()))?;
    if let Some(coding) = head.content_codings().next() {
        let reason = format!("content coding {coding} is not supported");
        let refusal = Refusal::new(RefusalCode::NotSupported, reason);
        return Err(request.refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, refusal));
    }
    if let Some(directory) = rest.strip_suffix('/') {
        let directory = FilePath::from_percent_encoded(directory);
        directory.map_err(|error| bad(RefusalCode::BadName, error.to_string()))?;
    }
    // Before any content: it holds for each file.
    context
        .grant
        .check_right(Operation::Upload, None)
        .and_then(|()| match context.grant.link() {
            Some(link) => link.check(counted_as(context.peer)),
            None => Ok(()),
        })
        .map_err(|refusal| request.refuse(refusal.code.meaning().status, refusal))?;
    Ok(FormUpload {
        context: context.clone(),
        asked: asked.clone(),
        source: request.source(),
        directory: rest.to_owned(),
        must_be_new: head.has_token(header::IF_NONE_MATCH, "*"),
        reader,
        part: State::None,
        results: Results::default(),
        memory: context.buffer_share(),
        discarded: 0,
        received: 0,
        waited: Duration::ZERO,
        handled: Instant::now(),
    })
}

/// A form whose files are being received.
struct FormUpload {
    context: Context,
    asked: Asked,
    source: Source,
    /// The directory, percent-encoded, with a slash at its end, or empty.
    directory: String,
    /// No file may have a name that is in use.
    must_be_new: bool,
    reader: FormReader,
    part: State,
    results: Results,
    /// Memory for the results.
    memory: Share,
    /// Bytes of content that belong to no file that is stored.
    discarded: u64,
    /// Bytes of the form, and the time that this server waited for them.
    received: u64,
    waited: Duration,
    handled: Instant,
}

/// The part that is being received.
enum State {
    /// None, or one that is discarded.
    None,
    File(Box<File>),
}

struct File {
    name: String,
    upload: Upload,
    /// It replaces another file.
    replaces: bool,
    /// Of several files in one read, each would count the time of those before it.
    began: Instant,
}

/// The results of the parts so far.
#[derive(Default)]
struct Results {
    files: Vec<Stored>,
    /// Fields without a file.
    ignored: Vec<String>,
}

enum Stored {
    Receipt { receipt: Box<Receipt>, replaces: bool },
    Refused { name: String, refusal: Refusal },
}

impl FormUpload {
    /// Receives a piece of the form; returns why it cannot be read further.
    fn receive(&mut self, mut piece: &[u8], at: Instant) -> Result<(), (StatusCode, String)> {
        self.received += piece.len() as u64;
        self.waited += at.saturating_duration_since(self.handled);
        let rate = self.context.files.check_rate(self.received, self.waited);
        rate.map_err(|refusal| (StatusCode::REQUEST_TIMEOUT, refusal.message))?;
        loop {
            let read = self.reader.read(piece);
            let (used, event) =
                read.map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
            match event {
                None => return Ok(()),
                Some(FormEvent::Content(content)) => match &mut self.part {
                    State::File(file) => {
                        if let Err(refusal) = file.upload.write(content, at.max(file.began))
                            && let Some(file) = self.part.take()
                        {
                            self.results.refused(file.name, file.upload.abandon(refusal));
                        }
                    }
                    State::None => {
                        self.discarded += content.len() as u64;
                        if self.discarded > MAX_DISCARDED {
                            return Err(self.too_much_discarded());
                        }
                    }
                },
                Some(FormEvent::Part(part)) => self.begin_part(part)?,
                Some(FormEvent::PartEnd) => {
                    if let Some(file) = self.part.take() {
                        // The boundary is an explicit end.
                        match file.upload.finish(EndKind::Close, &End::default()) {
                            Ok(receipt) => self.results.files.push(Stored::Receipt {
                                receipt: Box::new(receipt),
                                replaces: file.replaces,
                            }),
                            Err(refusal) => self.results.refused(file.name, refusal),
                        }
                    }
                }
            }
            piece = &piece[used..];
        }
    }

    /// Returns why a form ends whose content is not stored. A refusal describes it best.
    fn too_much_discarded(&self) -> (StatusCode, String) {
        let status = match self.results.status(None, self.must_be_new) {
            status if status.is_success() => StatusCode::PAYLOAD_TOO_LARGE,
            status => status,
        };
        let reason = format!("more than {MAX_DISCARDED} bytes of the form are in no stored file");
        (status, reason)
    }

    fn begin_part(&mut self, part: Part) -> Result<(), (StatusCode, String)> {
        let name = part.file_name.unwrap_or_default();
        // Paths are in the result, and in the response that is made of it.
        let named = self.directory.len() + name.len() + part.name.len().min(4 * SHOWN);
        if !self.memory.grow(RESULT + 8 * named) {
            let reason = "memory limit for the results of forms reached".to_owned();
            return Err((StatusCode::SERVICE_UNAVAILABLE, reason));
        }
        if name.is_empty() {
            // Also an input of a page for which no file was chosen.
            self.results.ignored.push(shortened(&part.name));
            return Ok(());
        }
        let shown = shortened(&String::from_utf8_lossy(&name));
        match self.begin_file(&name, part.encoding) {
            Ok((upload, replaces)) => {
                let began = Instant::now();
                self.part = State::File(Box::new(File { name: shown, upload, replaces, began }));
            }
            Err(refusal) => self.results.refused(shown, refusal),
        }
        Ok(())
    }

    fn begin_file(&self, name: &[u8], encoding: Option<String>) -> Result<(Upload, bool), Refusal> {
        let files = &self.context.files;
        let refuse = |code, reason: String| {
            let refusal = Refusal::new(code, reason);
            files.refused(&self.source, &refusal);
            Err(refusal)
        };
        if let Some(encoding) = encoding {
            let encoding = shortened(&encoding);
            let reason = format!("content transfer encoding {encoding} is not supported");
            return refuse(RefusalCode::NotSupported, reason);
        }
        if name.ends_with(b"/") {
            return refuse(RefusalCode::BadName, "the name is that of a directory".to_owned());
        }
        if name.len() > LONGEST_PATH {
            let reason = format!("the name has more than {LONGEST_PATH} bytes");
            return refuse(RefusalCode::BadName, reason);
        }
        let raw = format!("{}{}", self.directory, encoded_bytes(name));
        let path = FilePath::from_percent_encoded(&raw);
        let present = path.ok().and_then(|path| files.look_at(&self.context.grant, &path));
        let offer = Offer {
            name: decoded(&raw).ok(),
            name_raw: Some(raw),
            exists: self.must_be_new.then_some(OnExists::Error),
            ..Offer::default()
        };
        let upload = files.begin(self.source.clone(), offer)?;
        Ok((upload, overwrites(&self.context.config) && present.is_some()))
    }

    fn finish(&mut self) -> Answer {
        match self.reader.finish() {
            Ok(()) => self.answer(None),
            Err(error) => self.fail(StatusCode::BAD_REQUEST, &error.to_string()),
        }
    }

    /// Ends the request before the end of the form. Files that are complete stay stored.
    fn fail(&mut self, status: StatusCode, reason: &str) -> Answer {
        if let Some(file) = self.part.take() {
            file.upload.interrupt(reason);
            let refusal = Refusal::new(RefusalCode::Interrupted, reason);
            self.results.refused(file.name, refusal);
        }
        let code = match status {
            StatusCode::BAD_REQUEST => RefusalCode::BadRequest,
            StatusCode::PAYLOAD_TOO_LARGE => RefusalCode::TooLarge,
            StatusCode::SERVICE_UNAVAILABLE => RefusalCode::Busy,
            _ => RefusalCode::Interrupted,
        };
        self.answer(Some((status, Refusal::new(code, reason))))
    }

    /// Returns the response; `failed` is why the form is incomplete.
    fn answer(&mut self, failed: Option<(StatusCode, Refusal)>) -> Answer {
        let results = std::mem::take(&mut self.results);
        let (context, asked) = (&self.context, &self.asked);
        if results.files.is_empty() {
            let (status, refusal) = failed.unwrap_or_else(|| {
                let refusal = Refusal::new(RefusalCode::BadRequest, "the form has no file");
                (StatusCode::BAD_REQUEST, refusal.with_hint(FORM_HINT))
            });
            return refuse(context, asked, status, refusal);
        }
        let status = results.status(failed.as_ref().map(|(status, _)| *status), self.must_be_new);
        let answer = match asked.form {
            Form::Json => Answer::json(status, results.to_json(failed)),
            Form::Html if status.is_success() && context.grant.drop_box().is_some() => {
                let page = page::of_thanks(&asked.page, &results.to_text(failed));
                return Answer::page(status, &asked.page, page);
            }
            // The page that sent the form shows the files. Reloaded, it sends nothing again.
            Form::Html if status.is_success() && context.grant.may_read() => {
                let answer = Answer::text(StatusCode::SEE_OTHER, results.to_text(failed));
                return answer.with(header::LOCATION, "./");
            }
            Form::Html | Form::Text => Answer::text(status, results.to_text(failed)),
        };
        match results.only_path() {
            Some(path) => answer.with(header::LOCATION, location_of(&path)),
            None => answer,
        }
    }

    fn idle(&self) -> Duration {
        self.context.config.timeouts.idle
    }
}

impl State {
    fn take(&mut self) -> Option<Box<File>> {
        match std::mem::replace(self, Self::None) {
            Self::File(file) => Some(file),
            Self::None => None,
        }
    }
}

impl Results {
    fn refused(&mut self, name: String, refusal: Refusal) {
        self.files.push(Stored::Refused { name, refusal });
    }

    /// Returns that of the first refusal, as no single one describes all files.
    fn status(&self, failed: Option<StatusCode>, must_be_new: bool) -> StatusCode {
        let refused = self.files.iter().find_map(|file| match file {
            Stored::Refused { refusal, .. }
                if must_be_new && refusal.code == RefusalCode::Exists =>
            {
                Some(StatusCode::PRECONDITION_FAILED)
            }
            Stored::Refused { refusal, .. } => Some(refusal.code.meaning().status),
            Stored::Receipt { .. } => None,
        });
        let is_new = |file: &Stored| match file {
            Stored::Receipt { receipt, replaces } => {
                !replaces && receipt.end != EndKind::AlreadyHere
            }
            Stored::Refused { .. } => false,
        };
        let all_here = !self.files.iter().any(is_new);
        let stored = if all_here { StatusCode::OK } else { StatusCode::CREATED };
        failed.or(refused).unwrap_or(stored)
    }

    /// Returns the path of the file, if there is exactly one.
    fn only_path(&self) -> Option<FilePath> {
        match &self.files[..] {
            [Stored::Receipt { receipt, .. }] => receipt.stored(),
            _ => None,
        }
    }

    fn to_text(&self, failed: Option<(StatusCode, Refusal)>) -> String {
        let refused = |name: &str, refusal: &Refusal| {
            let hint = refusal.hint.as_ref().map(|hint| format!("hint: {hint}\n"));
            format!("{name}{}\n{}", refusal.message, hint.unwrap_or_default())
        };
        let files = self.files.iter().map(|file| match file {
            Stored::Receipt { receipt, .. } => format!("{}\n", receipt.summary(COLUMNS)),
            Stored::Refused { name, refusal } => refused(&format!("{name}: "), refusal),
        });
        let ignored = self.ignored.iter().map(|name| format!("{name}: ignored, it has no file\n"));
        let failed = failed.iter().map(|(_, refusal)| refused("", refusal));
        files.chain(ignored).chain(failed).collect()
    }

    fn to_json(&self, failed: Option<(StatusCode, Refusal)>) -> String {
        let value = |reply: &FileReply| serde_json::to_value(reply).unwrap_or_default();
        let files = self.files.iter().map(|file| match file {
            Stored::Receipt { receipt, .. } => value(&FileReply::Receipt((**receipt).clone())),
            Stored::Refused { name, refusal } => {
                let mut entry = json!({ "name": name });
                entry["error"] = value(&FileReply::Error(refusal.clone()))["error"].take();
                entry
            }
        });
        let files: Vec<Value> = files.collect();
        let mut answer = json!({ "files": files });
        if !self.ignored.is_empty() {
            answer["ignored"] = json!(self.ignored);
        }
        if let Some((_, refusal)) = failed {
            answer["error"] = value(&FileReply::Error(refusal))["error"].take();
        }
        answer.to_string()
    }
}

impl Handler for FormUpload {
    fn interest(&self) -> Interest {
        let may_block = match &self.part {
            State::File(file) => file.upload.may_block(),
            // The next part may begin a file.
            State::None => true,
        };
        Interest { may_block, place: Placement::Thread, ..Interest::input(self.idle()) }
    }

    fn handle(&mut self, event: Event<'_>, at: Instant, _: &mut Vec<u8>) -> Next {
        let answer = match event {
            Event::Content { piece, .. } => match self.receive(piece, at) {
                Ok(()) => {
                    self.handled = Instant::now();
                    return Next::Continue;
                }
                Err((status, reason)) => self.fail(status, &reason),
            },
            Event::End => self.finish(),
            Event::Idle => self.fail(StatusCode::REQUEST_TIMEOUT, &idle_reason(self.idle())),
            Event::Incomplete(reason) | Event::Lost(reason) => {
                self.fail(StatusCode::BAD_REQUEST, reason)
            }
            Event::Spliced(_) | Event::Sent(_) | Event::Shutdown => return Next::Continue,
        };
        Next::Respond(answer)
    }

    fn reports(&self) -> bool {
        true
    }
}

/// Returns the beginning of a name that is too long for the response.
fn shortened(name: &str) -> String {
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

/// Bytes of the longest file name, which is a path in the directory; a longer one has no place in
/// the response either.
const LONGEST_PATH: usize = 1024;

/// Bytes of memory for a result and its part of the response, without paths.
const RESULT: usize = 2048;

/// Characters of a name in the response.
const SHOWN: usize = 120;

const FORM_HINT: &str = "send it with its name: curl -F file=@FILE URL";
