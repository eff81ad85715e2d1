//! ClientHello and ServerHello (RFC 8446 §4.1.2, §4.1.3).

use crate::event::TlsMessage;

/// Maximum number of suites that are shown; clients offer up to about 60.
const MAX_SUITES: usize = 100;

/// Reads the body of a hello message into `into`; returns `None` if it is malformed.
pub(super) fn decode(of_client: bool, body: &[u8], into: &mut TlsMessage) -> Option<()> {
    let mut body = Reader(body);
    let legacy_version = body.number()?;
    into.version = Some(version_name(legacy_version));
    let random = body.take(32)?;
    if !of_client && random == RETRY {
        into.name = "HelloRetryRequest".to_owned();
    }
    let _session_id = body.of_length(1)?;
    let suites = if of_client { body.of_length(2)? } else { Reader(body.take(2)?) };
    let suites = suites.0.as_chunks::<2>().0.iter().map(|suite| u16::from_be_bytes(*suite));
    // GREASE (RFC 8701) has no meaning.
    let suites = suites.filter(|suite| !is_grease(*suite)).take(MAX_SUITES).map(suite_name);
    into.suites = suites.collect();
    let _compression = if of_client { body.of_length(1)? } else { Reader(body.take(1)?) };
    if body.0.is_empty() {
        return Some(());
    }
    let mut extensions = body.of_length(2)?;
    while !extensions.0.is_empty() {
        let kind = extensions.number()?;
        let mut content = extensions.of_length(2)?;
        match kind {
            SERVER_NAME if of_client => {
                let mut names = content.of_length(2)?;
                let _host_name = names.take(1)?;
                into.server_name = Some(names.of_length(2)?.text());
            }
            ALPN => {
                let mut protocols = content.of_length(2)?;
                while !protocols.0.is_empty() {
                    into.alpn.push(protocols.of_length(1)?.text());
                }
            }
            SUPPORTED_VERSIONS => {
                let versions = if of_client { content.of_length(1)? } else { content };
                let versions = versions.0.as_chunks::<2>().0.iter();
                let versions = versions.map(|version| u16::from_be_bytes(*version));
                let highest = versions.filter(|version| !is_grease(*version)).max();
                if let Some(version) = highest {
                    into.version = Some(version_name(version));
                }
            }
            _ => {}
        }
    }
    Some(())
}

/// Returns whether the message selects TLS 1.3.
pub(super) fn is_tls13(message: &TlsMessage) -> bool {
    message.version.as_deref() == Some("TLSv1.3")
}

/// Input that is left.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(*self.take(2)?.first_chunk()?))
    }

    /// Takes what follows a length of 1 or 2 bytes.
    fn of_length(&mut self, bytes: usize) -> Option<Self> {
        let length = self.take(bytes)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        self.take(length).map(Reader)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(self.0).into_owned()
    }
}

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;

/// The random of a ServerHello that is a HelloRetryRequest (RFC 8446 §4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

const fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

fn version_name(version: u16) -> String {
    match version {
        0x0300 => "SSLv3".to_owned(),
        0x0301 => "TLSv1.0".to_owned(),
        0x0302 => "TLSv1.1".to_owned(),
        0x0303 => "TLSv1.2".to_owned(),
        0x0304 => "TLSv1.3".to_owned(),
        other => format!("0x{other:04x}"),
    }
}

/// The suites in use (IANA, TLS Cipher Suites); any other is shown by its number.
fn suite_name(suite: u16) -> String {
    let name = match suite {
        0x1301 => "TLS_AES_128_GCM_SHA256",
        0x1302 => "TLS_AES_256_GCM_SHA384",
        0x1303 => "TLS_CHACHA20_POLY1305_SHA256",
        0xc02b => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        0xc02c => "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        0xc02f => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        0xc030 => "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        0xcca8 => "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        0xcca9 => "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        0x00ff => "TLS_EMPTY_RENEGOTIATION_INFO_SCSV",
        0x5600 => "TLS_FALLBACK_SCSV",
        0x009c => "TLS_RSA_WITH_AES_128_GCM_SHA256",
        0x009d => "TLS_RSA_WITH_AES_256_GCM_SHA384",
        0x009e => "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256",
        0x009f => "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384",
        0xc009 => "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
        0xc00a => "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
        0xc013 => "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
        0xc014 => "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
        other => return format!("0x{other:04x}"),
    };
    name.to_owned()
}
