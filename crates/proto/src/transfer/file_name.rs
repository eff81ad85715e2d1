//! Names of files as peers send them, safe to create in a directory.
//!
//! Every name that comes from a peer passes [`FileName::exact`] or [`FileName::sanitize`]; code
//! with a [`FileName`] may join it to a directory and print it. Safe means: one component, no
//! control characters and none that change the direction of text (a terminal or a log would show
//! another name), short enough for common file systems, and never one of anyport's partial files.
//!
//! A name need not be text: on Unix it is bytes, and those of a file come back as they were.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::percent::{self, DecodeError};
use super::words::quoted;

/// A name that is safe to create in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName(Vec<u8>);

impl FileName {
    /// Returns the name with exactly these bytes.
    ///
    /// # Errors
    /// They are no name, too many, reserved, or hold characters that lie about the name.
    pub fn exact(name: &[u8]) -> Result<Self, NameError> {
        check(name)?;
        Ok(Self(name.to_vec()))
    }

    /// Makes the name that a peer sent safe: keeps the last component without white space around
    /// it, and writes `_` for characters that are not allowed.
    ///
    /// [`FileName::changed_from`] says whether anything had to be changed.
    ///
    /// # Errors
    /// Nothing is left of it, or it means a directory.
    pub fn sanitize(asked: &str) -> Result<Self, NameError> {
        let last = asked.rsplit(SEPARATOR).next().unwrap_or_default().trim();
        let visible = unhidden(last.replace(is_mapped, "_").into_bytes());
        let (stem, extension) = split_extension(&visible);
        let kept = cut(stem, MAX_NAME_LEN - extension.len());
        // All of it is UTF-8: it was text, and the cut is between two characters.
        let name = String::from_utf8_lossy(&[kept, extension].concat()).into_owned();
        // Without an extension the cut may end in spaces.
        let name = name.trim_end();
        // Checked last: `..`, 253 spaces and a letter become `..` only by the cut.
        match name {
            "" => Err(NameError::Empty { asked: asked.to_owned() }),
            "." | ".." => Err(NameError::Directory { asked: asked.to_owned() }),
            // And so do `.anyport`, 250 spaces and a letter.
            _ => Ok(Self(unhidden(name.as_bytes().to_vec()))),
        }
    }

    /// Decodes the name of a URL or a preface and makes it safe; a decoded `/` separates like any
    /// other.
    ///
    /// # Errors
    /// As [`FileName::sanitize`], or the escapes are malformed.
    pub fn from_percent_encoded(asked: &str) -> Result<Self, NameError> {
        let decoded = percent::decode(asked).map_err(|error| malformed(asked, error))?;
        Self::sanitize(&decoded)
    }

    /// Returns the name, as the file system stores it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the name as text: exact where [`FileName::sanitize`] would leave it as it is, else
    /// the nearest name that it does.
    pub fn text(&self) -> Cow<'_, str> {
        let text = String::from_utf8_lossy(&self.0);
        match Self::sanitize(&text) {
            Ok(safe) if safe.0 == self.0 => text,
            Ok(safe) => Cow::Owned(String::from_utf8_lossy(&safe.0).into_owned()),
            // White space alone.
            Err(_) => Cow::Borrowed("_"),
        }
    }

    /// Returns the name as it stands in a URL or a preface: all but letters, digits and `-._~`
    /// encoded.
    pub fn percent_encoded(&self) -> String {
        percent::encode_bytes(&self.0)
    }

    /// Returns the `n`th name beside this one, for when it is taken: `photo.jpg` becomes
    /// `photo-1.jpg`.
    pub fn numbered(&self, n: u32) -> Self {
        let (stem, extension) = split_extension(&self.0);
        let ending = [format!("-{n}").as_bytes(), extension].concat();
        let stem = cut(stem, MAX_NAME_LEN - ending.len());
        // A cut may leave a reserved name.
        Self(unhidden([stem, &ending].concat()))
    }

    /// Returns whether the peer asked for another name than this.
    pub fn changed_from(&self, asked: &str) -> bool {
        self.0 != asked.as_bytes()
    }
}

/// Returns whether `name` is one of anyport's partial files, what is kept beside one, or
/// [`SHARES`].
pub fn is_partial(name: &[u8]) -> bool {
    if name == SHARES.as_bytes() {
        return true;
    }
    let Some(rest) = name.strip_prefix(HIDDEN_PREFIX.as_bytes()) else { return false };
    let key = PARTIAL_SUFFIXES.iter().find_map(|suffix| rest.strip_suffix(suffix.as_bytes()));
    key.is_some_and(|key| {
        !key.is_empty() && key.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-')
    })
}

/// Escapes what a terminal or a reader would not show as it is: bytes that are not UTF-8, control
/// characters, a backslash, and white space around a component.
pub fn escaped(path: &[u8]) -> String {
    let components = path.split(|byte| *byte == SEPARATOR as u8);
    let escaped: Vec<String> = components.map(escaped_component).collect();
    escaped.join("/")
}

fn escaped_component(name: &[u8]) -> String {
    let mut escaped = String::with_capacity(name.len());
    let chunks: Vec<_> = name.utf8_chunks().collect();
    let last = chunks.len().saturating_sub(1);
    for (at, chunk) in chunks.iter().enumerate() {
        let text = chunk.valid();
        let begins = if at == 0 { text.len() - text.trim_start().len() } else { 0 };
        let is_end = at == last && chunk.invalid().is_empty();
        let ends = if is_end { text.trim_end().len() } else { text.len() };
        for (place, c) in text.char_indices() {
            match c {
                '\\' => escaped.push_str("\\\\"),
                c if is_offending(c) || place < begins || place >= ends => match u32::from(c) {
                    code @ ..=0x7f => escaped.push_str(&format!("\\x{code:02x}")),
                    _ => escaped.extend(c.escape_unicode()),
                },
                c => escaped.push(c),
            }
        }
        for byte in chunk.invalid() {
            escaped.push_str(&format!("\\x{byte:02x}"));
        }
    }
    escaped
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&escaped(&self.0))
    }
}

impl AsRef<Path> for FileName {
    fn as_ref(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }
}

/// Why a name cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing follows the last separator.
    #[error("the name {} has no last component; expected a file \
        name such as photo.jpg", quoted(.asked))]
    Empty {
        /// The name as it came.
        asked: String,
    },
    /// The last component is `.` or `..`.
    #[error("the name {} is that of a directory; expected a file \
        name such as photo.jpg", quoted(.asked))]
    Directory {
        /// The name as it came.
        asked: String,
    },
    /// A percent sign that does not begin an escape.
    #[error(
        "{} in the name {} is not a percent escape; write a percent sign as %25",
        quoted(.escape), quoted(.asked)
    )]
    MalformedEscape {
        /// The name as it came.
        asked: String,
        /// The percent sign and what follows it.
        escape: String,
    },
    /// The escapes do not decode to UTF-8.
    #[error("the name {} is not UTF-8 once its percent escapes are decoded", quoted(.asked))]
    NotUtf8 {
        /// The name as it came.
        asked: String,
    },
    /// A character that would write to the terminal, or show another name.
    #[error("the name {name} has a control character or one that reorders text")]
    Character {
        /// The name, escaped.
        name: String,
    },
    /// More bytes than file systems take.
    #[error("the name {name} has more than {MAX_NAME_LEN} bytes")]
    TooLong {
        /// The name, escaped.
        name: String,
    },
    /// It is reserved: `.anyport` for resources of the server, `.anyport-` for partial files, and
    /// [`IDENTITY`].
    #[error("the name {name} is reserved for the server (.anyport, .anyport-…, {IDENTITY})")]
    Reserved {
        /// The name, escaped.
        name: String,
    },
}

pub(super) fn malformed(asked: &str, error: DecodeError) -> NameError {
    let asked = asked.to_owned();
    match error {
        DecodeError::Malformed(escape) => NameError::MalformedEscape { asked, escape },
        DecodeError::NotUtf8 => NameError::NotUtf8 { asked },
    }
}

/// Whether these bytes are a name.
pub(super) fn check(name: &[u8]) -> Result<(), NameError> {
    let shown = || escaped(name);
    let mut characters = name.utf8_chunks().flat_map(|chunk| chunk.valid().chars());
    match name {
        b"" => Err(NameError::Empty { asked: String::new() }),
        b"." | b".." => Err(NameError::Directory { asked: shown() }),
        name if name.len() > MAX_NAME_LEN => Err(NameError::TooLong { name: shown() }),
        name if is_hidden(name) => Err(NameError::Reserved { name: shown() }),
        _ if characters.any(|c| c == SEPARATOR || is_offending(c)) => {
            Err(NameError::Character { name: shown() })
        }
        _ => Ok(()),
    }
}

/// A mapped name has no backslash either: on other systems it separates.
fn is_mapped(c: char) -> bool {
    c == '\\' || is_offending(c)
}

/// Control characters would write to the terminal that lists them, the others reorder or break
/// what is shown.
fn is_offending(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Keeps a name out of the server's own: a peer that could write there could forge the state of a
/// transfer.
fn unhidden(mut name: Vec<u8>) -> Vec<u8> {
    if is_hidden(&name) {
        name.insert(0, b'_');
    }
    name
}

/// Of either case: some file systems do not tell them apart.
fn is_hidden(name: &[u8]) -> bool {
    let starts = |prefix: &[u8]| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    starts(HIDDEN_PREFIX.as_bytes())
        || name.eq_ignore_ascii_case(RESERVED)
        || name.eq_ignore_ascii_case(IDENTITY.as_bytes())
}

/// Stem and extension; the extension begins with its dot, and is empty when there is none worth
/// keeping.
fn split_extension(name: &[u8]) -> (&[u8], &[u8]) {
    let Some(dot) = name.iter().rposition(|byte| *byte == b'.') else { return (name, b"") };
    let extension = &name[dot + 1..];
    let is_word = |text: &str| !text.is_empty() && !text.contains(char::is_whitespace);
    let plausible =
        extension.len() <= MAX_EXTENSION_LEN && std::str::from_utf8(extension).is_ok_and(is_word);
    // A dot at the beginning hides a file and begins no extension.
    if dot == 0 || !plausible {
        return (name, b"");
    }
    // `archive.tar.gz` is an archive, numbered or cut before both of its extensions.
    match name[..dot].strip_suffix(b".tar") {
        Some(stem) if !stem.is_empty() => name.split_at(stem.len()),
        _ => name.split_at(dot),
    }
}

/// The longest beginning of `text` that has at most `len` bytes and ends between two characters.
fn cut(text: &[u8], len: usize) -> &[u8] {
    let continues = |at: usize| text.get(at).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000);
    let len = len.min(text.len());
    // A character of UTF-8 has at most three bytes behind its first.
    let end = (len.saturating_sub(3)..=len).rev().find(|at| !continues(*at));
    &text[..end.unwrap_or(len)]
}

/// Only this one: a backslash may be part of a name where names come from.
const SEPARATOR: char = '/';

/// The first component of the paths of the server's own resources over HTTP. It is reserved in
/// every directory, so that a name means the same wherever it is.
const RESERVED: &[u8] = b".anyport";

/// How partial files and their state begin.
const HIDDEN_PREFIX: &str = ".anyport-";

/// The name of the file in a served directory that has its shares.
pub const SHARES: &str = ".anyport-shares";

/// The name of the file that has the server's generated TLS key: the directory of a service may be
/// both that of its state and the served one.
pub const IDENTITY: &str = "tls-identity.pem";

/// How they end, with hexadecimal digits before.
const PARTIAL_SUFFIXES: [&str; 2] = [".part", ".state"];

/// What ext4, XFS, Btrfs, APFS and NTFS all take (`NAME_MAX`).
const MAX_NAME_LEN: usize = 255;

/// Bytes after the dot; what is longer is prose that happens to hold a dot.
const MAX_EXTENSION_LEN: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(asked: &str) -> FileName {
        FileName::sanitize(asked).unwrap()
    }

    fn assert_safe(name: &FileName) {
        let text = std::str::from_utf8(name.as_bytes()).unwrap();
        assert!(!text.is_empty() && text != "." && text != "..", "{text:?}");
        assert!(text.len() <= 255, "{} bytes: {text:?}", text.len());
        assert!(!text.contains(['/', '\0', '\u{2028}', '\u{2029}', '\u{61c}']), "{text:?}");
        assert!(!text.chars().any(|c| c.is_control()), "{text:?}");
        for c in text.chars() {
            let code = u32::from(c);
            assert!(![0x200e, 0x200f].contains(&code), "{text:?}");
            assert!(!(0x202a..=0x202e).contains(&code), "{text:?}");
            assert!(!(0x2066..=0x2069).contains(&code), "{text:?}");
        }
        assert!(!text.to_lowercase().starts_with(".anyport-"), "{text:?}");
        assert_ne!(text.to_lowercase(), ".anyport");
        assert_ne!(text.to_lowercase(), IDENTITY);
        assert_eq!(Path::new("/dir").join(name).parent(), Some(Path::new("/dir")), "{text:?}");
        assert_eq!(&FileName::sanitize(text).unwrap(), name, "sanitizing twice differs from once");
    }

    #[test]
    fn a_cut_lays_no_directory_bare() {
        for dots in [".", ".."] {
            let asked = format!("{dots}{}x", " ".repeat(260));
            assert!(matches!(FileName::sanitize(&asked), Err(NameError::Directory { .. })));
        }
    }

    #[test]
    fn a_safe_name_stays_as_it_is() {
        for asked in
            ["photo.jpg", ".bashrc", "größe 2.txt", "...", "a..b", ".anyports", "-rf", "日本"]
        {
            assert_eq!(name(asked).text(), asked);
            assert!(!name(asked).changed_from(asked));
        }
    }

    #[test]
    fn only_the_last_component_is_kept() {
        for asked in ["/etc/passwd", "../../passwd", "a\\b/passwd", " passwd\t"] {
            assert_eq!(name(asked).text(), "passwd");
            assert!(name(asked).changed_from(asked));
        }
    }

    #[test]
    fn characters_that_lie_about_the_name_become_underscores() {
        assert_eq!(name("photo\u{202e}gpj.exe").text(), "photo_gpj.exe");
        assert_eq!(name("a\0b\nc\u{1b}[2J\u{7f}\u{9b}").text(), "a_b_c_[2J__");
        assert_eq!(name("a\u{2028}b\u{2029}c\u{61c}d\u{2066}e").text(), "a_b_c_d_e");
    }

    #[test]
    fn the_names_of_the_server_itself_cannot_be_used() {
        assert_eq!(name(".anyport-1.part").text(), "_.anyport-1.part");
        assert_eq!(name(".AnyPort").text(), "_.AnyPort");
        assert_eq!(name(&format!(".anyport{}x", " ".repeat(250))).text(), "_.anyport");
        assert_eq!(name("x/ .AnyPort-1.part").text(), "_.AnyPort-1.part");
        assert_eq!(name(".anyport.part").numbered(1).text(), "_.anyport-1.part");
    }

    #[test]
    fn a_long_name_is_cut_between_characters_and_keeps_its_extension() {
        assert_eq!(name(&"a".repeat(255)).text().len(), 255);
        assert_eq!(name(&"a".repeat(300)).text(), "a".repeat(255));
        let long = name(&format!("{}.jpg", "ä".repeat(200)));
        assert_eq!(long.text(), format!("{}.jpg", "ä".repeat(125)));
        let prose = name(&format!("{}.{}", "a".repeat(250), "b".repeat(33)));
        assert_eq!(prose.text(), format!("{}.bbbb", "a".repeat(250)));
        assert_eq!(name(&format!("{} {}", "a".repeat(254), "b".repeat(9))).text(), "a".repeat(254));
    }

    #[test]
    fn an_exact_name_keeps_every_byte() {
        for (bytes, shown, text) in [
            (&b"caf\xe9"[..], r"caf\xe9", "caf\u{fffd}"),
            (b"end ", r"end\x20", "end"),
            (b" ", r"\x20", "_"),
            (b"a\\b", r"a\\b", "a_b"),
            ("größe 2".as_bytes(), "größe 2", "größe 2"),
        ] {
            let name = FileName::exact(bytes).unwrap();
            assert_eq!((name.as_bytes(), name.to_string().as_str()), (bytes, shown));
            assert_eq!(name.text(), text);
            let numbered = name.numbered(1);
            assert_eq!(FileName::exact(numbered.as_bytes()), Ok(numbered.clone()));
            assert_ne!(numbered, name);
        }
        for bytes in [
            &b""[..],
            b".",
            b"..",
            b"a/b",
            b"a\0",
            b"a\n",
            b".anyport-1",
            b".anyport",
            b"TLS-identity.pem",
            "a\u{202e}".as_bytes(),
        ] {
            assert!(FileName::exact(bytes).is_err(), "{bytes:?}");
        }
        assert!(FileName::exact(&[b'a'; 256]).is_err());
        // Cut between characters, also where the bytes are no UTF-8.
        assert_eq!(FileName::exact(&[0x80; 255]).unwrap().numbered(10).as_bytes().len(), 255);
    }

    #[test]
    fn partial_files_are_known_by_their_names() {
        for name in [".anyport-0123abcd.part", ".anyport-01-ab.part", ".anyport-0f.state", SHARES] {
            assert!(is_partial(name.as_bytes()), "{name}");
        }
        for name in [".anyport-.part", ".anyport-notes.part", ".anyport-1", "x.part"] {
            assert!(!is_partial(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_url_without_a_file_is_refused_with_a_hint() {
        for (asked, message) in [
            ("", r#"the name "" has no last component; expected a file name such as photo.jpg"#),
            (
                "photos/",
                r#"the name "photos/" has no last component; expected a file name such as photo.jpg"#,
            ),
            (
                " \t",
                r#"the name " \t" has no last component; expected a file name such as photo.jpg"#,
            ),
            (
                "a/..",
                r#"the name "a/.." is that of a directory; expected a file name such as photo.jpg"#,
            ),
            (
                " . ",
                r#"the name " . " is that of a directory; expected a file name such as photo.jpg"#,
            ),
        ] {
            assert_eq!(FileName::sanitize(asked).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_percent_encoded_name_is_decoded_before_it_is_made_safe() {
        let decoded = |asked| FileName::from_percent_encoded(asked).unwrap();
        assert_eq!(decoded("gr%C3%B6%C3%9fe%20100%25.txt").text(), "größe 100%.txt");
        assert_eq!(decoded("..%2f..%2Fetc%5Cpasswd").text(), "etc_passwd");
        assert_eq!(decoded("a+b%00").text(), "a+b_");
        assert_eq!(
            FileName::from_percent_encoded("%2e%2E"),
            Err(NameError::Directory { asked: "..".to_owned() })
        );
    }

    #[test]
    fn a_name_that_cannot_be_decoded_is_refused_with_the_position() {
        for (asked, message) in [
            (
                "a%zz",
                r#""%zz" in the name "a%zz" is not a percent escape; write a percent sign as %25"#,
            ),
            (
                "100%",
                r#""%" in the name "100%" is not a percent escape; write a percent sign as %25"#,
            ),
            ("%ff", r#"the name "%ff" is not UTF-8 once its percent escapes are decoded"#),
        ] {
            assert_eq!(FileName::from_percent_encoded(asked).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_number_goes_before_the_extension() {
        for (asked, numbered) in [
            ("photo.jpg", "photo-1.jpg"),
            ("archive.tar.gz", "archive-1.tar.gz"),
            ("name", "name-1"),
            (".bashrc", ".bashrc-1"),
            (".tar.gz", ".tar-1.gz"),
            ("report v1.2 final.pdf", "report v1.2 final-1.pdf"),
            ("Mr. Smith", "Mr. Smith-1"),
            ("...", "...-1"),
        ] {
            assert_eq!(name(asked).numbered(1).text(), numbered);
        }
    }

    #[test]
    fn only_unreserved_characters_stand_in_an_encoded_name() {
        assert_eq!(name("aZ9-._~ ü%=+").percent_encoded(), "aZ9-._~%20%C3%BC%25%3D%2B");
    }

    /// Texts in which what matters here is frequent.
    fn nasty() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            any::<String>(),
            any::<char>().prop_map(String::from),
            prop::sample::select(vec![
                ".",
                "..",
                "/",
                "\\",
                " ",
                "\u{85}",
                "\0",
                "%2f",
                ".anyport-",
                ".anyport",
                "tls-identity.pem",
                ".Anyport",
                ".tar",
                ".gz",
                "\u{202e}",
                "\u{2028}",
                "-",
                "\u{3000}",
            ])
            .prop_map(str::to_owned),
            (any::<char>(), 0..300usize).prop_map(|(c, n)| c.to_string().repeat(n)),
        ];
        prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn whatever_a_peer_sends_the_name_is_safe(asked in nasty()) {
            if let Ok(name) = FileName::sanitize(&asked) {
                assert_safe(&name);
            }
        }

        #[test]
        fn numbered_names_are_safe_too(asked in nasty(), n: u32) {
            if let Ok(name) = FileName::sanitize(&asked) {
                assert_safe(&name.numbered(n));
                prop_assert_ne!(name.numbered(n), name);
            }
        }

        #[test]
        fn a_name_survives_being_encoded_and_decoded(asked in nasty()) {
            if let Ok(name) = FileName::sanitize(&asked) {
                prop_assert_eq!(FileName::from_percent_encoded(&name.percent_encoded()), Ok(name));
            }
        }

        #[test]
        fn no_text_panics_the_decoder(asked in nasty()) {
            if let Ok(name) = FileName::from_percent_encoded(&asked) {
                assert_safe(&name);
            }
        }
    }
}
