//! Decoders of the bytes of a connection, without sockets: bytes of one direction in, events out.
//!
//! ```text
//!   client ─► Lines | Http1 ─► Http2 | Frames | Content ─┐
//!                 ↕ Shared: state of one direction for the other
//!   server ─► Lines | Http1 ─► Http2 | Frames | Content ─┴► Output ─► Recorder
//! ```
//!
//! The segmentation of a stream changes no event but its times. Content is counted and not copied;
//! consecutive pieces of it are one event, which grows in the recorder.

mod content;
mod frames;
mod hello;
mod hpack;
mod http1;
mod http2;
mod lines;
mod output;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::VecDeque;

use content::Content;
use frames::Frames;
use http1::Http1;
use http2::Http2;
use lines::Lines;
pub(crate) use output::Output;
pub(crate) use tls::Records;

use crate::event::Side;

/// Maximum bytes of one element that a direction buffers: a line, a head, a text message, a
/// ClientHello. 64 KiB: four times what an anyport server accepts.
pub(crate) const MAX_ELEMENT: usize = 64 * 1024;

/// The protocol of the bytes of a connection, inside TLS if there is TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// Lines of `ANYPORT/1`, and content between them; or content alone.
    Preface,
    /// HTTP/1.1, or HTTP/2 if it begins with the preface of RFC 9113 §3.4; a switch to WebSocket
    /// is followed.
    Http,
    /// WebSocket frames without a handshake.
    Frames,
    /// The same of a client that did not announce messages of a file transfer: text is content.
    UnannouncedFrames,
    /// Content alone.
    Content,
}

/// The decoders of both directions of a connection.
#[derive(Debug)]
pub(crate) struct Decoder {
    client: Layer,
    server: Layer,
    shared: Shared,
}

/// The decoder of the current bytes of one direction.
#[derive(Debug)]
enum Layer {
    Lines(Lines),
    Http1(Http1),
    Http2(Box<Http2>),
    Frames(Frames),
    Content(Content),
}

/// The state that the decoders of both directions share.
#[derive(Debug, Default)]
struct Shared {
    /// Requests of HTTP/1 without a final response.
    requests: VecDeque<http1::Request>,
    /// The reply to an offer that waits for one.
    reply: Option<lines::Answer>,
    /// Whether all output of the server after an admitted request is content.
    only_content: bool,
    /// The client closes its WebSocket: the other end may repeat its reason.
    has_closed: bool,
    /// Both directions become this.
    switch: Option<Switch>,
}

/// Another protocol in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Switch {
    Http2,
    /// WebSocket frames; with `texts`, text messages may be those of a file transfer.
    Frames {
        texts: bool,
    },
    Content,
}

/// The result of a layer for some input.
enum Step {
    /// This number of bytes was used.
    Used(usize),
    /// The direction is another layer from here on; the input was not used.
    Become(Layer),
}

impl Decoder {
    /// Returns the decoders of a connection at its first byte.
    pub(crate) fn new(protocol: Protocol) -> Self {
        let layer = |from| match protocol {
            Protocol::Preface => Layer::Lines(Lines::new(from)),
            Protocol::Http => Layer::Http1(Http1::new(from)),
            Protocol::Frames => Layer::Frames(Frames::new(from, true)),
            Protocol::UnannouncedFrames => Layer::Frames(Frames::new(from, false)),
            Protocol::Content => Layer::Content(Content::default()),
        };
        let (client, server) = (layer(Side::Client), layer(Side::Server));
        Self { client, server, shared: Shared::default() }
    }

    /// Decodes the next bytes of a direction.
    pub(crate) fn push(&mut self, mut bytes: &[u8], output: &Output<'_>) {
        while !bytes.is_empty() {
            let shared = &mut self.shared;
            let layer = match output.from {
                Side::Client => &mut self.client,
                Side::Server => &mut self.server,
            };
            let step = match layer {
                Layer::Lines(lines) => lines.push(bytes, shared, output),
                Layer::Http1(http1) => http1.push(bytes, shared, output),
                Layer::Http2(http2) => http2.push(bytes, output),
                Layer::Frames(frames) => frames.push(bytes, shared, output),
                Layer::Content(content) => {
                    content.count(bytes, output);
                    return;
                }
            };
            match step {
                Step::Used(used) => bytes = bytes.get(used..).unwrap_or_default(),
                Step::Become(next) => *layer = next,
            }
            if let Some(switch) = self.shared.switch.take() {
                self.client.switch(switch, Side::Client);
                self.server.switch(switch, Side::Server);
            }
        }
    }

    /// All that the server sends from here on is content.
    pub(crate) fn sends_content(&mut self) {
        if !matches!(self.server, Layer::Content(_)) {
            self.server = Layer::Content(Content::default());
        }
    }

    /// Counts bytes of a direction that the kernel moved: they are content.
    pub(crate) fn skip(&mut self, mut count: u64, output: &Output<'_>) {
        let layer = match output.from {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        while count > 0 {
            let skipped = match layer {
                Layer::Lines(lines) => lines.skip(count, &mut self.shared, output),
                Layer::Http1(http1) => http1.skip(count, output),
                Layer::Http2(http2) => http2.skip(count, output),
                Layer::Frames(frames) => frames.skip(count, output),
                Layer::Content(content) => {
                    content.add(count, output);
                    count
                }
            };
            if skipped == 0 {
                output.note("the kernel moved bytes that are not content; they are only counted");
                *layer = Layer::Content(Content::default());
            }
            count = count.saturating_sub(skipped);
        }
    }
}

impl Layer {
    fn switch(&mut self, to: Switch, from: Side) {
        match (to, &self) {
            // A server may begin before it reads the preface of the client.
            (Switch::Http2, Self::Http2(_)) => {}
            (Switch::Http2, _) => *self = Self::Http2(Box::new(Http2::new(from))),
            (Switch::Frames { texts }, _) => *self = Self::Frames(Frames::new(from, texts)),
            (Switch::Content, _) => *self = Self::Content(Content::default()),
        }
    }
}

impl Step {
    /// Notes why the rest of the direction is not decoded, and counts it with the bytes of it
    /// that were used `earlier`.
    fn unknown(output: &Output<'_>, text: &str, earlier: &[u8]) -> Self {
        output.note(&format!("{text}; the rest of this direction is only counted"));
        Self::content(output, earlier)
    }

    /// The rest of the direction is content, with the bytes of it that were used `earlier`.
    fn content(output: &Output<'_>, earlier: &[u8]) -> Self {
        let mut content = Content::default();
        content.count(earlier, output);
        Self::Become(Layer::Content(content))
    }
}
