//! Fields of HTTP/2 heads: HPACK (RFC 7541), decoding only.
//!
//! Crates that decode it build their Huffman table anew for each string, which costs a millisecond
//! for a head; the library that the client uses keeps its decoder private.

use std::collections::VecDeque;
use std::sync::LazyLock;

/// The maximum size of the dynamic table before an update (RFC 9113 §6.5.2).
const DEFAULT_TABLE: usize = 4096;

/// Maximum size of a dynamic table that a peer may choose.
const MAX_TABLE: usize = 64 * 1024;

/// What an entry counts beside its text (RFC 7541 §4.1).
const ENTRY: usize = 32;

/// The compression state of one direction.
#[derive(Debug)]
pub(super) struct Hpack {
    /// Newest first.
    table: VecDeque<(Vec<u8>, Vec<u8>)>,
    size: usize,
    limit: usize,
}

impl Hpack {
    pub(super) const fn new() -> Self {
        Self { table: VecDeque::new(), size: 0, limit: DEFAULT_TABLE }
    }

    /// Calls `found` with each field of a complete head; returns `None` if it is malformed, and
    /// later heads cannot be decoded.
    pub(super) fn decode(
        &mut self,
        mut block: &[u8],
        mut found: impl FnMut(&[u8], &[u8]),
    ) -> Option<()> {
        while let Some(first) = block.first().copied() {
            match first {
                0x80.. => {
                    let (name, value) = self.entry(integer(&mut block, 7)?)?;
                    found(name, value);
                }
                0x40.. => {
                    let (name, value) = self.literal(&mut block, 6)?;
                    found(&name, &value);
                    self.size += name.len() + value.len() + ENTRY;
                    self.table.push_front((name, value));
                    self.evict();
                }
                0x20.. => {
                    self.limit = integer(&mut block, 5)?;
                    if self.limit > MAX_TABLE {
                        return None;
                    }
                    self.evict();
                }
                // Never indexed, or not now.
                _ => {
                    let (name, value) = self.literal(&mut block, 4)?;
                    found(&name, &value);
                }
            }
        }
        Some(())
    }

    fn literal(&self, block: &mut &[u8], prefix: u8) -> Option<(Vec<u8>, Vec<u8>)> {
        let name = match integer(block, prefix)? {
            0 => string(block)?,
            index => self.entry(index)?.0.to_vec(),
        };
        Some((name, string(block)?))
    }

    fn entry(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let index = index.checked_sub(1)?;
        if let Some((name, value)) = STATIC.get(index) {
            return Some((name.as_bytes(), value.as_bytes()));
        }
        let (name, value) = self.table.get(index - STATIC.len())?;
        Some((name, value))
    }

    fn evict(&mut self) {
        while self.size > self.limit
            && let Some((name, value)) = self.table.pop_back()
        {
            self.size -= name.len() + value.len() + ENTRY;
        }
    }
}

/// Takes an integer with a prefix of this number of bits (RFC 7541 §5.1), of at most 28 bits more.
fn integer(block: &mut &[u8], prefix: u8) -> Option<usize> {
    let (first, rest) = block.split_first()?;
    *block = rest;
    let most = (1 << prefix) - 1;
    let mut value = usize::from(first & most);
    if value < usize::from(most) {
        return Some(value);
    }
    for shift in [0, 7, 14, 21] {
        let (byte, rest) = block.split_first()?;
        *block = rest;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Takes a string (RFC 7541 §5.2).
fn string(block: &mut &[u8]) -> Option<Vec<u8>> {
    let is_compressed = block.first()? & 0x80 != 0;
    let length = integer(block, 7)?;
    let (bytes, rest) = block.split_at_checked(length)?;
    *block = rest;
    if is_compressed { huffman(bytes) } else { Some(bytes.to_vec()) }
}

fn huffman(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(bytes.len() * 8 / 5);
    let (mut code, mut length) = (0, 0);
    for byte in bytes {
        for bit in (0..8).rev() {
            code = code << 1 | u32::from(byte >> bit & 1);
            length += 1;
            let (first, symbols) = CODES.get(length)?;
            if let Some(symbol) = symbols.get(code.wrapping_sub(*first) as usize) {
                // The end of the string must not be encoded.
                text.push(u8::try_from(*symbol).ok()?);
                (code, length) = (0, 0);
            }
        }
    }
    // Padding is the beginning of the code of all ones.
    (length < 8 && code == (1 << length) - 1).then_some(text)
}

/// The first code of each length, and the symbols whose codes are that one and the next ones: the
/// codes of the RFC are in the order of their length, then of their symbol.
static CODES: LazyLock<Vec<(u32, Vec<u16>)>> = LazyLock::new(|| {
    let mut code = 0_u32;
    let codes = (0..=LONGEST_CODE).map(|length| {
        let symbols = (0..).zip(LENGTHS).filter(|(_, other)| *other == length);
        let symbols: Vec<u16> = symbols.map(|(symbol, _)| symbol).collect();
        let first = code << 1;
        code = first + symbols.len() as u32;
        (first, symbols)
    });
    codes.collect()
});

const LONGEST_CODE: u8 = 30;

/// Length of the code of each byte, and of the end of a string, in bits (RFC 7541, Appendix B).
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// RFC 7541, Appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use anyport_testkit::hex;

    use super::*;

    fn decoded(hpack: &mut Hpack, block: &str) -> Option<Vec<String>> {
        let mut fields = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        hpack.decode(&hex(block), |name, value| {
            fields.push(format!("{}: {}", text(name), text(value)));
        })?;
        Some(fields)
    }

    #[test]
    fn responses_of_rfc_7541_appendix_c_6_are_decoded() {
        let mut hpack = Hpack { limit: 256, ..Hpack::new() };
        let date = |second| format!("date: Mon, 21 Oct 2013 20:13:{second} GMT");
        let location = "location: https://www.example.com".to_owned();
        let private = "cache-control: private".to_owned();
        let first = decoded(
            &mut hpack,
            "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863
             c78f0b97c8e9ae82ae43d3",
        );
        let expected = ["status: 302".to_owned(), private.clone(), date(21), location.clone()];
        assert_eq!(first.unwrap()[..], expected.map(|line| line.replace("status", ":status")));
        let second = decoded(&mut hpack, "4883640effc1c0bf").unwrap();
        assert_eq!(second, [":status: 307", &private, &date(21), &location]);
        let third = decoded(
            &mut hpack,
            "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b3
             35dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
        );
        let cookie = "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
        let expected =
            [":status: 200", &private, &date(22), &location, "content-encoding: gzip", cookie];
        assert_eq!(third.unwrap(), expected);
        assert_eq!(hpack.size, 215);
    }

    #[test]
    fn malformed_heads_are_refused() {
        for block in [
            "80",
            "ff",
            "ffffffffff7f",
            "be",
            "40",
            "4001",
            "000161",
            "0081ff",
            "0082ffff",
            "3fe1ff7f",
            "0084ffffffff00",
        ] {
            assert_eq!(decoded(&mut Hpack::new(), block), None, "{block}");
        }
    }

    #[test]
    fn the_table_is_bounded_by_its_limit() {
        let mut hpack = Hpack::new();
        for _ in 0..1000 {
            decoded(&mut hpack, "4002616205 3132333435").unwrap();
        }
        assert!(hpack.size <= DEFAULT_TABLE && hpack.table.len() <= DEFAULT_TABLE / ENTRY);
        assert_eq!(decoded(&mut hpack, "20"), Some(Vec::new()));
        assert_eq!((hpack.size, hpack.table.len()), (0, 0));
    }
}
