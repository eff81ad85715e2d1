//! Uploads, downloads and listings in messages; downloads and listings on the built-in engine only
//! (docs/transfer.md).
//!
//! Clients that agreed to the format (subprotocol `anyport.file.1`, or bare frames opened with a
//! ping `anyport/1`) send offers and ends as text and content as binary, and get receipts as text,
//! file after file. For every other client all payloads in order are the file, and a Close between
//! messages is its end.

use anyport_net::copy::Wait;
use anyport_proto::setting::ENGINE;
use anyport_proto::transfer::download::{Get, List};
use anyport_proto::transfer::file_path;
use anyport_proto::transfer::messages::{FileMessage, FileReply};
use anyport_proto::transfer::offer::{End, Offer};
use anyport_proto::transfer::receipt::{EndKind, Engine, Receipt};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_proto::ws::{CloseCode, Kind};

use super::{Outlet, Piece};
use crate::service::files::{Begun, Source, Upload, Waiting};
use crate::session::Context;
use crate::session::due::Due;
use crate::session::sending::Sending;

pub(crate) struct MessageFiles {
    context: Context,
    source: Source,
    /// From the path of the handshake, for the first file.
    path: Option<String>,
    announced: bool,
    current: Option<Upload>,
    /// An offer whose partial file is still locked by the last connection of its sender.
    waiting: Option<Box<Waiting>>,
    /// The running upload began with an offer, so only an `end` message ends it.
    offered: bool,
    /// The text message that is being received, up to `Limits::offer`.
    text: Vec<u8>,
    /// Its deadline.
    pub(in crate::session) due: Due,
    /// Whether a message has begun and not ended.
    in_message: bool,
    /// The file or listing that is being sent; until its end no message is handled.
    sending: Option<Sending>,
}

impl MessageFiles {
    pub(in crate::session) fn new(
        context: &Context,
        source: Source,
        path: Option<String>,
        announced: bool,
    ) -> Self {
        Self {
            context: context.clone(),
            source,
            path,
            announced,
            current: None,
            waiting: None,
            offered: false,
            text: Vec::new(),
            due: Due::new(context.config.timeouts.handshake),
            in_message: false,
            sending: None,
        }
    }

    pub(in crate::session) fn may_block(&self) -> bool {
        // Before the first piece there is no upload, and beginning one creates a file.
        self.current.as_ref().is_none_or(Upload::may_block)
    }

    /// Continues an upload that another session began.
    pub(in crate::session) fn resume(&mut self, upload: Upload) {
        self.current = Some(upload);
    }

    /// Returns the next bytes that the running upload stored raw; 0 at their end, or when it has
    /// ended.
    pub(in crate::session) fn read_back(&mut self, buffer: &mut [u8]) -> Result<usize, Refusal> {
        self.current.as_mut().map_or(Ok(0), |upload| upload.read_back(buffer))
    }

    pub(in crate::session) fn data(&mut self, piece: Piece<'_>, outlet: &mut dyn Outlet) {
        self.in_message = !piece.end;
        let taken = if self.announced && piece.kind == Kind::Text {
            self.text(&piece, outlet)
        } else {
            self.content(&piece)
        };
        if let Err(refusal) = taken {
            self.refuse(refusal, outlet);
        }
    }

    pub(in crate::session) fn closed(
        &mut self,
        code: Option<CloseCode>,
        reason: &str,
        outlet: &mut dyn Outlet,
    ) {
        let Some(upload) = self.current.take() else {
            outlet.close(code, "");
            return;
        };
        if self.in_message || !matches!(code, None | Some(CloseCode::NORMAL)) {
            let place = if self.in_message { "inside a message" } else { "before the end" };
            interrupt_closed(upload, place, code, reason);
            outlet.close(None, "");
            return;
        }
        if self.offered {
            interrupt_closed(upload, "without an end message", code, reason);
            let message = "an end message is required after an offered file";
            self.refuse(Refusal::new(RefusalCode::Interrupted, message), outlet);
            return;
        }
        self.finish(upload, EndKind::Close, outlet);
    }

    pub(in crate::session) fn end_of_stream(
        &mut self,
        between_messages: bool,
        outlet: &mut dyn Outlet,
    ) {
        let Some(upload) = self.current.take() else { return };
        if !between_messages || self.in_message {
            upload.interrupt("the stream ended inside a frame or message");
        } else if self.announced {
            upload.interrupt("the stream ended without a closing handshake");
        } else {
            self.finish(upload, EndKind::Fin, outlet);
        }
    }

    /// Interrupts the running transfer, and tells the peer that it may try again.
    pub(in crate::session) fn idle(&mut self, reason: &str, outlet: &mut dyn Outlet) {
        // The other connection kept its lock for too long: this is the last attempt.
        if self.is_waiting() {
            return self.retry(outlet);
        }
        self.broken(reason);
        self.refuse(Refusal::new(RefusalCode::Interrupted, reason), outlet);
    }

    /// Records that the connection is lost; returns whether a running transfer reported it.
    pub(in crate::session) fn broken(&mut self, reason: &str) -> bool {
        self.waiting = None;
        let sending = self.sending.take().map(|sending| sending.broken(reason));
        self.current.take().map(|upload| upload.interrupt(reason)).or(sending).is_some()
    }

    /// Returns whether a file or a listing is being sent.
    pub(in crate::session) const fn is_sending(&self) -> bool {
        self.sending.is_some()
    }

    /// Returns what is being sent; the session takes it and puts back what remains.
    pub(in crate::session) const fn sending(&mut self) -> &mut Option<Sending> {
        &mut self.sending
    }

    /// Returns whether no transfer runs.
    pub(in crate::session) const fn is_idle(&self) -> bool {
        let is_between = self.current.is_none() && !self.in_message && self.text.is_empty();
        is_between && self.sending.is_none() && self.waiting.is_none()
    }

    /// Returns whether an offer waits for another connection to unlock its partial file.
    pub(in crate::session) const fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Returns the condition that it waits for; `None` where [`Self::retry`] is to be called.
    pub(in crate::session) fn wait(&self) -> Option<Wait> {
        self.waiting.as_ref().and_then(|waiting| waiting.wait())
    }

    /// Begins the upload that waited.
    pub(in crate::session) fn retry(&mut self, outlet: &mut dyn Outlet) {
        let Some(waiting) = self.waiting.take() else { return };
        let begun = self.context.files.retry(waiting);
        if let Err(refusal) = self.begun(begun, true, outlet) {
            self.refuse(refusal, outlet);
        }
    }

    /// Finishes an upload whose end is a Close or FIN.
    fn finish(&mut self, upload: Upload, end: EndKind, outlet: &mut dyn Outlet) {
        match upload.finish(end, &End::default()) {
            Ok(receipt) => outlet.close(Some(CloseCode::NORMAL), &close_reason(&receipt)),
            Err(refusal) => self.refuse(refusal, outlet),
        }
    }

    fn content(&mut self, piece: &Piece<'_>) -> Result<(), Refusal> {
        let upload = match &mut self.current {
            Some(upload) => upload,
            None => {
                let (name, name_raw) = self.path_name();
                let offer = Offer { name, name_raw, ..Offer::default() };
                self.current.insert(self.context.files.begin(self.source.clone(), offer)?)
            }
        };
        upload.write(piece.data, piece.at)
    }

    fn text(&mut self, piece: &Piece<'_>, outlet: &mut dyn Outlet) -> Result<(), Refusal> {
        let limit = self.context.config.limits.offer;
        if self.text.len() + piece.data.len() > limit {
            let message = format!("a text message exceeds the limit of {limit} bytes");
            return Err(self.out_of_place(Refusal::new(RefusalCode::TooLarge, message)));
        }
        self.text.extend_from_slice(piece.data);
        if !piece.end {
            self.due.begin(piece.at);
            return Ok(());
        }
        self.due.end();
        let text = std::mem::take(&mut self.text);
        let bad = |error: &dyn std::fmt::Display| {
            Refusal::new(RefusalCode::BadRequest, format!("text message: {error}"))
                .with_hint(r#"{"offer":{"name":"x","size":1}} or {"end":{"bytes":1}}, {"get":{"name":"x"}}, {"list":{}}"#)
        };
        let message = std::str::from_utf8(&text)
            .map_err(|error| bad(&error))
            .and_then(|text| FileMessage::from_json(text).map_err(|error| bad(&error)))
            .map_err(|refusal| self.out_of_place(refusal))?;
        match message {
            FileMessage::Offer(_) if self.current.is_some() => {
                let message = "unexpected offer: the previous file has no end message yet";
                Err(Refusal::new(RefusalCode::BadRequest, message))
            }
            FileMessage::Offer(mut offer) => {
                // The path of the handshake wins: a person typed it.
                if let (Some(name), name_raw) = self.path_name() {
                    (offer.name, offer.name_raw) = (Some(name), name_raw);
                }
                self.begin(offer, outlet)
            }
            FileMessage::Get(_) | FileMessage::List(_) if self.current.is_some() => {
                let message = "unexpected get or list: the previous file has no end message yet";
                Err(Refusal::new(RefusalCode::BadRequest, message))
            }
            FileMessage::Get(get) => {
                self.get(&get, outlet);
                Ok(())
            }
            FileMessage::List(list) => {
                self.list(&list, outlet);
                Ok(())
            }
            FileMessage::End(end) => {
                let Some(upload) = self.current.take() else {
                    let message = "unexpected end: no content before it";
                    return Err(self.out_of_place(Refusal::new(RefusalCode::BadRequest, message)));
                };
                self.offered = false;
                let sized = upload.is_sized() || end.bytes.is_some();
                let kind = if sized { EndKind::Size } else { EndKind::Close };
                let receipt = upload.finish(kind, &end)?;
                outlet.message(Kind::Text, FileReply::Receipt(receipt).to_json().as_bytes());
                Ok(())
            }
        }
    }

    fn begin(&mut self, offer: Offer, outlet: &mut dyn Outlet) -> Result<(), Refusal> {
        let resume = offer.resume;
        let begun = self.context.files.offered(self.source.clone(), offer);
        self.begun(begun, resume, outlet)
    }

    fn begun(
        &mut self,
        begun: Result<Begun, Refusal>,
        resume: bool,
        outlet: &mut dyn Outlet,
    ) -> Result<(), Refusal> {
        let upload = match begun {
            Ok(Begun::Upload(upload)) => *upload,
            Ok(Begun::Waiting(waiting)) => {
                self.waiting = Some(waiting);
                return Ok(());
            }
            // The sender waits for this reply, so it has sent no content: the next file may be
            // accepted.
            Err(refusal) if resume => {
                let reply = FileReply::Error(refusal);
                outlet.message(Kind::Text, reply.to_json().as_bytes());
                return Ok(());
            }
            Err(refusal) => return Err(refusal),
        };
        if resume && upload.is_here() {
            let receipt = upload.finish(EndKind::AlreadyHere, &End::default())?;
            outlet.message(Kind::Text, FileReply::Receipt(receipt).to_json().as_bytes());
            return Ok(());
        }
        if resume {
            let go = FileReply::Go { offset: upload.offset() };
            outlet.message(Kind::Text, go.to_json().as_bytes());
        }
        self.current = Some(upload);
        self.offered = true;
        Ok(())
    }

    /// Begins a download. After a refusal the connection stays open for further requests.
    fn get(&mut self, get: &Get, outlet: &mut dyn Outlet) {
        let opened = self
            .can_send()
            .and_then(|()| self.context.files.open_download(self.source.clone(), get));
        let reply = match opened {
            Ok(download) => {
                let head = FileReply::File(download.head().clone());
                self.sending = Some(Sending::File(download));
                head
            }
            Err(refusal) => FileReply::Error(refusal),
        };
        outlet.message(Kind::Text, reply.to_json().as_bytes());
    }

    fn list(&mut self, list: &List, outlet: &mut dyn Outlet) {
        match self.can_send().and_then(|()| self.context.list(self.source.clone(), list)) {
            Ok(listing) => self.sending = Some(Sending::List(listing)),
            Err(refusal) => {
                outlet.message(Kind::Text, FileReply::Error(refusal).to_json().as_bytes());
            }
        }
    }

    /// Checks that the engine can send files: the library owns its stream, and sends only whole
    /// messages.
    fn can_send(&self) -> Result<(), Refusal> {
        if self.source.engine == Engine::Own {
            return Ok(());
        }
        let message = format!("downloads over WebSocket are not supported by {ENGINE} library");
        let hint = format!("use tcp://; the server's owner can add {ENGINE} own");
        let refusal = Refusal::new(RefusalCode::NotSupported, message).with_hint(hint);
        Err(self.out_of_place(refusal))
    }

    /// Refuses an offer or end that is incomplete at its deadline.
    pub(in crate::session) fn late(&mut self, outlet: &mut dyn Outlet) {
        let reason = self.due.reason("a text message");
        self.due.end();
        // The client may have been suspended, so it may retry.
        let refusal = self.out_of_place(Refusal::new(RefusalCode::Interrupted, reason.clone()));
        // The content before an incomplete `end` message is kept.
        self.broken(&reason);
        self.refuse(refusal, outlet);
    }

    pub(in crate::session) fn refuse(&mut self, refusal: Refusal, outlet: &mut dyn Outlet) {
        let refusal = match self.current.take() {
            Some(upload) => upload.abandon(refusal),
            None => refusal,
        };
        if self.announced {
            outlet.message(Kind::Text, FileReply::Error(refusal.clone()).to_json().as_bytes());
        }
        outlet.refuse(&refusal);
    }

    /// Reports a refusal, unless a running upload reports it.
    fn out_of_place(&self, refusal: Refusal) -> Refusal {
        if self.current.is_none() {
            let protocol = self.source.protocol.as_str();
            self.context.refused(protocol, &refusal.message);
        }
        refusal
    }

    /// Takes the name in the path of the handshake: its text, and the path as received.
    fn path_name(&mut self) -> (Option<String>, Option<String>) {
        let raw = self.path.take();
        (raw.as_deref().and_then(|raw| file_path::decoded(raw).ok()), raw)
    }
}

fn interrupt_closed(upload: Upload, place: &str, code: Option<CloseCode>, reason: &str) {
    let code = code.map_or_else(|| "no code".to_owned(), |code| code.to_string());
    upload.interrupt_by_sender(format!("the sender closed {place} ({code})"), reason);
}

/// The receipt for clients without the subprotocol, in their close event: `whole 1017 blake3:…`.
fn close_reason(receipt: &Receipt) -> String {
    let bytes = receipt.bytes;
    match &receipt.digest {
        Some(digest) => format!("whole {bytes} {digest}"),
        None => format!("whole {bytes}"),
    }
}
