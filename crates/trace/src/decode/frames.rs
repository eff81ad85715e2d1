//! WebSocket frames (RFC 6455 §5.2), after a handshake or bare.

use anyport_proto::transfer::messages::{FileMessage, FileReply};
use anyport_proto::ws::candidate::SYN_PING;
use anyport_proto::ws::header::{self, Decoded, MAX_HEADER, Rsv1};
use anyport_proto::ws::{Header, Mask, Opcode, Role};

use super::output::{Output, Run};
use super::{MAX_ELEMENT, Shared, Step};
use crate::event::{LengthForm, Side, WebSocketFrame, What};
use crate::syn::ReportedSyn;

/// The frames of one direction.
#[derive(Debug)]
pub(super) struct Frames {
    /// The end that receives them.
    receiver: Role,
    /// Whether text messages may be those of a file transfer; others are payload.
    texts: bool,
    header: [u8; MAX_HEADER],
    filled: usize,
    /// Bytes of the payload that are missing.
    left: u64,
    /// The event of equal data frames.
    run: Run,
    /// Bits and form of the length of all frames of the run.
    kind: Option<(Header, LengthForm)>,
    /// The payload of the current frame, if it is shown.
    shown: Option<Shown>,
}

/// Payload that is buffered for its event.
#[derive(Debug)]
struct Shown {
    event: Option<usize>,
    opcode: Opcode,
    mask: Option<Mask>,
    bytes: Vec<u8>,
    /// Bytes of it that are buffered at most.
    wanted: usize,
}

impl Frames {
    pub(super) fn new(from: Side, texts: bool) -> Self {
        let receiver = match from {
            Side::Client => Role::Server,
            Side::Server => Role::Client,
        };
        let (header, run) = ([0; MAX_HEADER], Run::default());
        Self { receiver, texts, header, filled: 0, left: 0, run, kind: None, shown: None }
    }

    pub(super) fn push(&mut self, bytes: &[u8], shared: &mut Shared, output: &Output<'_>) -> Step {
        if self.left > 0 {
            let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            if let Some(shown) = &mut self.shown {
                shown.push(bytes.get(..length).unwrap_or(bytes));
                if shown.bytes.len() == shown.wanted
                    && let Some(shown) = self.shown.take()
                {
                    shown.finish(output);
                }
            }
            self.pass(length as u64, output);
            return Step::Used(length);
        }
        let mut used = 0;
        loop {
            let buffered = self.header.get(..self.filled).unwrap_or_default();
            let at_least = match header::decode(buffered, self.receiver, Rsv1::Deflate) {
                Ok(Decoded::Done { value, .. }) => {
                    self.begin(value, shared, output);
                    return Step::Used(used);
                }
                Ok(Decoded::NeedMore { at_least }) => at_least,
                Err(violation) => {
                    // The byte that decides is part of the next layer's content.
                    let text = format!("no WebSocket frame: {violation}");
                    let earlier = self.header.get(..self.filled - used).unwrap_or_default();
                    return Step::unknown(output, &text, earlier);
                }
            };
            let Some(byte) = bytes.get(used) else { return Step::Used(used) };
            debug_assert!(at_least > self.filled);
            if let Some(place) = self.header.get_mut(self.filled) {
                *place = *byte;
            }
            self.filled += 1;
            used += 1;
        }
    }

    /// Counts payload that the kernel moved; returns how many bytes it can be.
    pub(super) fn skip(&mut self, count: u64, output: &Output<'_>) -> u64 {
        let skipped = self.left.min(count);
        self.shown = None;
        self.pass(skipped, output);
        skipped
    }

    fn pass(&mut self, count: u64, output: &Output<'_>) {
        self.left -= count;
        if count > 0 && self.kind.is_some() {
            self.run.grow(output, |_| ());
        }
        if self.left == 0
            && let Some(shown) = self.shown.take()
        {
            shown.finish(output);
        }
    }

    fn begin(&mut self, header: Header, shared: &mut Shared, output: &Output<'_>) {
        let wire = self.header.get(..self.filled).unwrap_or_default();
        let length_form = match wire.get(1).map_or(0, |byte| byte & 0x7f) {
            126 => LengthForm::Medium,
            127 => LengthForm::Long,
            _ => LengthForm::Short,
        };
        let is_data = matches!(header.opcode, Opcode::Binary | Opcode::Continuation);
        let same = |kind: &(Header, LengthForm)| {
            let bits = |header: &Header| {
                (header.opcode, header.fin, header.compressed, header.key.is_some())
            };
            kind.1 == length_form && bits(&kind.0) == bits(&header)
        };
        self.left = header.length;
        self.filled = 0;
        if is_data && self.kind.as_ref().is_some_and(same) && self.run.is_open(output) {
            self.run.grow(output, |what| {
                if let What::Frame(frame) = what {
                    frame.count += 1;
                    frame.length = frame.length.saturating_add(header.length);
                }
            });
            return;
        }
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let frame = WebSocketFrame {
            opcode: opcode_name(header.opcode).to_owned(),
            fin: header.fin,
            compressed: header.compressed,
            mask: header.key.map(|key| hex(&key)),
            length: header.length,
            length_form,
            header: hex(wire),
            code: None,
            text: None,
            payload: None,
            count: 1,
        };
        let what = What::Frame(frame);
        let event = if is_data {
            self.run = Run::open(output, what);
            self.kind = Some((header, length_form));
            self.run.event()
        } else {
            self.kind = None;
            Some(output.event(what))
        };
        let is_text = self.texts
            && header.opcode == Opcode::Text
            && header.fin
            && !header.compressed
            && header.length <= MAX_ELEMENT as u64;
        // The reason of a client may be any text, and some implementations repeat it.
        shared.has_closed |= header.opcode == Opcode::Close && self.receiver == Role::Server;
        let wanted = match header.opcode {
            Opcode::Close if output.recorder.is_of_server() && shared.has_closed => 2,
            Opcode::Close | Opcode::Ping | Opcode::Pong => 125,
            _ if is_text => MAX_ELEMENT,
            _ => output.payload().min(MAX_ELEMENT),
        };
        if wanted > 0 && header.length > 0 {
            let (opcode, mask) = (header.opcode, header.key.map(Mask::new));
            self.shown = Some(Shown { event, opcode, mask, bytes: Vec::new(), wanted });
        }
    }
}

impl Shown {
    fn push(&mut self, bytes: &[u8]) {
        let room = self.wanted - self.bytes.len();
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        if let Some(mask) = &mut self.mask {
            // Nothing behind the wanted bytes is unmasked, so the phase of the rest is not needed.
            mask.apply(self.bytes.get_mut(begin..).unwrap_or_default());
        }
    }

    /// Adds code, text and payload to the event.
    fn finish(self, output: &Output<'_>) {
        let Some(event) = self.event else { return };
        let (code, text) = match (self.opcode, self.bytes.as_slice()) {
            (Opcode::Close, [high, low, reason @ ..]) => {
                let text = String::from_utf8_lossy(reason).into_owned();
                (
                    Some(u16::from_be_bytes([*high, *low])),
                    Some(text).filter(|text| !text.is_empty()),
                )
            }
            (Opcode::Text, text) => (None, protocol_text(text, output.from)),
            (Opcode::Ping, payload) if payload == SYN_PING && output.from == Side::Client => {
                output.recorder.asks_for_syn(output.connection);
                (None, None)
            }
            (Opcode::Pong, payload) if output.from == Side::Server => {
                if let Some(reported) = ReportedSyn::of_pong(payload) {
                    output.syn(Ok(reported));
                }
                (None, None)
            }
            _ => (None, None),
        };
        let keep = output.payload();
        let kept = self.bytes.get(..keep).unwrap_or(&self.bytes).escape_ascii().to_string();
        output.amend_text(event, |what| {
            if let What::Frame(frame) = what {
                (frame.code, frame.text) = (code, text);
                frame.payload = (keep > 0).then_some(kept);
            }
        });
    }
}

/// Returns a message of the file protocol; text of any other kind is payload.
fn protocol_text(bytes: &[u8], from: Side) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_protocol = match from {
        Side::Client => FileMessage::from_json(text).is_ok(),
        Side::Server => FileReply::from_json(text).is_ok(),
    };
    is_protocol.then(|| text.to_owned())
}

const fn opcode_name(opcode: Opcode) -> &'static str {
    match opcode {
        Opcode::Continuation => "continuation",
        Opcode::Text => "text",
        Opcode::Binary => "binary",
        Opcode::Close => "close",
        Opcode::Ping => "ping",
        Opcode::Pong => "pong",
    }
}
