//! TLS records (RFC 8446 §5.1) as they are on the socket: messages in the clear, and sizes.

use super::MAX_ELEMENT;
use super::hello::{self, is_tls13};
use super::output::{Output, Run};
use crate::event::{Side, Time, TlsMessage, What};

/// Size of a record header, and of the header of a handshake message.
const RECORD: usize = 5;
const MESSAGE: usize = 4;

/// The records of both directions.
#[derive(Debug, Default)]
pub(crate) struct Records {
    client: Direction,
    server: Direction,
    /// Whether the server selected TLS 1.3, if it has selected a version.
    tls13: Option<bool>,
}

#[derive(Debug, Default)]
struct Direction {
    header: [u8; RECORD],
    filled: usize,
    /// The type of the current record.
    kind: u8,
    /// Whether its content is in the clear and decoded.
    clear: bool,
    left: usize,
    /// The message in the clear that is being read.
    message: Vec<u8>,
    /// Bytes of a message in the clear that are not decoded.
    skipped: usize,
    began: Time,
    /// Everything but later handshakes of TLS 1.3 is encrypted.
    encrypted: bool,
    /// These are no records.
    unknown: bool,
    run: Run,
    run_kind: u8,
}

impl Records {
    /// Decodes the next bytes of a direction.
    pub(crate) fn push(&mut self, mut bytes: &[u8], output: &Output<'_>) {
        let Self { client, server, tls13 } = self;
        let direction = match output.from {
            Side::Client => client,
            Side::Server => server,
        };
        while !bytes.is_empty() && !direction.unknown {
            let used = if direction.left > 0 {
                direction.content(bytes, tls13, output)
            } else {
                direction.header(bytes, *tls13, output)
            };
            bytes = bytes.get(used..).unwrap_or_default();
        }
    }
}

impl Direction {
    fn header(&mut self, bytes: &[u8], tls13: Option<bool>, output: &Output<'_>) -> usize {
        let used = (RECORD - self.filled).min(bytes.len());
        for (place, byte) in self.header.iter_mut().skip(self.filled).zip(bytes) {
            *place = *byte;
        }
        self.filled += used;
        if self.filled < RECORD {
            return used;
        }
        self.filled = 0;
        let [kind, major, _, high, low] = self.header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if !(CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&kind) || major != 3 {
            output.note("not a record of TLS; the rest of this direction is not decoded");
            self.unknown = true;
            return used;
        }
        (self.kind, self.left) = (kind, length);
        // With TLS 1.3 encrypted records look like application data, and only alerts and handshakes
        // in the clear have their own type (RFC 8446 §5.2).
        let is_clear = !self.encrypted || tls13 == Some(true);
        self.clear = is_clear && (kind == HANDSHAKE || kind == ALERT && length == 2);
        if kind == CHANGE_CIPHER_SPEC && tls13 != Some(true) {
            self.encrypted = true;
        }
        if !self.clear || kind != HANDSHAKE {
            // RFC 8446 §5.1: no other record is between those of one message.
            self.message.clear();
            self.skipped = 0;
        }
        if self.clear {
            self.run.close();
            return used;
        }
        let bytes = length as u64;
        if self.run_kind == kind && self.run.is_open(output) {
            self.run.grow(output, |what| {
                if let What::TlsRecords { count, bytes: sum, .. } = what {
                    *count += 1;
                    *sum = sum.saturating_add(bytes);
                }
            });
        } else {
            let kind = record_name(kind).to_owned();
            self.run = Run::open(output, What::TlsRecords { kind, count: 1, bytes });
            self.run_kind = self.kind;
        }
        used
    }

    /// Reads the content of a record; returns how many bytes belong to it.
    fn content(&mut self, bytes: &[u8], tls13: &mut Option<bool>, output: &Output<'_>) -> usize {
        let used = self.left.min(bytes.len());
        let content = bytes.get(..used).unwrap_or(bytes);
        self.left -= used;
        match (self.clear, self.kind) {
            (true, HANDSHAKE) => self.messages(content, tls13, output),
            (true, _) => self.alert(content, output),
            _ => self.run.grow(output, |_| ()),
        }
        used
    }

    fn messages(&mut self, mut bytes: &[u8], tls13: &mut Option<bool>, output: &Output<'_>) {
        while !bytes.is_empty() {
            if self.skipped > 0 {
                let used = self.skipped.min(bytes.len());
                self.skipped -= used;
                bytes = bytes.get(used..).unwrap_or_default();
                continue;
            }
            if self.message.is_empty() {
                self.began = output.now;
            }
            let length = self.message_length();
            let wanted = length.map_or(MESSAGE, |length| MESSAGE + length) - self.message.len();
            let used = wanted.min(bytes.len());
            self.message.extend_from_slice(bytes.get(..used).unwrap_or_default());
            bytes = bytes.get(used..).unwrap_or_default();
            let Some(length) = self.message_length() else { continue };
            let kind = self.message.first().copied().unwrap_or(0);
            let is_hello = matches!(kind, CLIENT_HELLO | SERVER_HELLO) && length <= MAX_ELEMENT;
            if is_hello && self.message.len() < MESSAGE + length {
                continue;
            }
            let message = std::mem::take(&mut self.message);
            let mut event = TlsMessage {
                name: message_name(kind),
                bytes: (MESSAGE + length) as u64,
                ..TlsMessage::default()
            };
            let mut is_malformed = false;
            if is_hello {
                let body = message.get(MESSAGE..).unwrap_or_default();
                is_malformed = hello::decode(kind == CLIENT_HELLO, body, &mut event).is_none();
                if kind == SERVER_HELLO {
                    *tls13 = Some(is_tls13(&event));
                }
            } else {
                self.skipped = length;
            }
            output.event_since(self.began, What::TlsMessage(event));
            if is_malformed {
                output.note("the hello message of TLS is malformed");
            }
        }
    }

    /// Returns the length of the current message behind its header, once that is complete.
    fn message_length(&self) -> Option<usize> {
        let [_, high, middle, low] = *self.message.first_chunk::<MESSAGE>()?;
        usize::try_from(u32::from_be_bytes([0, high, middle, low])).ok()
    }

    fn alert(&mut self, bytes: &[u8], output: &Output<'_>) {
        self.message.extend_from_slice(bytes);
        if let [level, code] = self.message[..] {
            self.message.clear();
            let level = if level == 1 { "warning" } else { "fatal" };
            let name = format!("Alert ({level}: {})", alert_name(code));
            output.event(What::TlsMessage(TlsMessage { name, bytes: 2, ..TlsMessage::default() }));
        }
    }
}

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

const fn record_name(kind: u8) -> &'static str {
    match kind {
        CHANGE_CIPHER_SPEC => "change-cipher-spec",
        ALERT => "alert",
        HANDSHAKE => "handshake",
        _ => "application-data",
    }
}

/// RFC 8446 §4, RFC 5246 §7.4.
fn message_name(kind: u8) -> String {
    let name = match kind {
        0 => "HelloRequest",
        CLIENT_HELLO => "ClientHello",
        SERVER_HELLO => "ServerHello",
        4 => "NewSessionTicket",
        11 => "Certificate",
        12 => "ServerKeyExchange",
        13 => "CertificateRequest",
        14 => "ServerHelloDone",
        15 => "CertificateVerify",
        16 => "ClientKeyExchange",
        20 => "Finished",
        22 => "CertificateStatus",
        _ => return format!("handshake message {kind}"),
    };
    name.to_owned()
}

/// RFC 8446 §6.
fn alert_name(code: u8) -> String {
    let name = match code {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        40 => "handshake_failure",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        50 => "decode_error",
        51 => "decrypt_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        109 => "missing_extension",
        110 => "unsupported_extension",
        112 => "unrecognized_name",
        116 => "certificate_required",
        120 => "no_application_protocol",
        _ => return code.to_string(),
    };
    name.to_owned()
}
