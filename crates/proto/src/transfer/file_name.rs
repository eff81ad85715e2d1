//! Names of files as peers send them, made safe to create in a directory.
//!
//! Every name that comes from a peer passes [`FileName::sanitize`]; whoever holds a [`FileName`]
//! may join it to a directory and print it. Safe means: one component, no control characters and
//! none that turn the direction of writing (a terminal or a log would show another name), short
//! enough for common file systems, and never one of the server's own hidden part files.

use std::fmt;
use std::path::Path;

use super::percent::{self, DecodeError};
use super::words::quoted;

/// A name that is safe to create in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName(String);

impl FileName {
    /// Makes the name that a peer sent safe: keeps the last component, writes `_` for characters
    /// that may not stand.
    ///
    /// What is safe already stays as it is; [`FileName::changed_from`] tells.
    pub fn sanitize(asked: &str) -> Result<Self, NameError> {
        let last = asked.rsplit(SEPARATOR).next().unwrap_or_default().trim();
        let visible = unhidden(last.replace(is_offending, "_"));
        let (stem, extension) = split_extension(&visible);
        let kept = cut(stem, MAX_NAME_LEN - extension.len());
        // Without an extension the cut may have laid bare spaces at the end.
        let name = format!("{kept}{extension}").trim_end().to_owned();
        // Looked at last: `..`, 253 spaces and a letter become `..` only by the cut.
        match name.as_str() {
            "" => Err(NameError::Empty { asked: asked.to_owned() }),
            "." | ".." => Err(NameError::Directory { asked: asked.to_owned() }),
            _ => Ok(Self(name)),
        }
    }

    /// Decodes the name of a URL or a preface and makes it safe; a decoded `/` separates like any
    /// other.
    pub fn from_percent_encoded(asked: &str) -> Result<Self, NameError> {
        let decoded = percent::decode(asked).map_err(|error| match error {
            DecodeError::Malformed(escape) => {
                NameError::MalformedEscape { asked: asked.to_owned(), escape }
            }
            DecodeError::NotUtf8 => NameError::NotUtf8 { asked: asked.to_owned() },
        })?;
        Self::sanitize(&decoded)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as it stands in a URL or a preface: all but letters, digits and `-._~` encoded.
    pub fn percent_encoded(&self) -> String {
        percent::encode_name(&self.0)
    }

    /// The `n`th name beside this one, for when it is taken: `photo.jpg` becomes `photo-1.jpg`.
    pub fn numbered(&self, n: u32) -> Self {
        let (stem, extension) = split_extension(&self.0);
        let ending = format!("-{n}{extension}");
        let stem = cut(stem, MAX_NAME_LEN - ending.len());
        // `.anyport` is harmless, `.anyport-1` would be a hidden part file.
        Self(unhidden(format!("{stem}{ending}")))
    }

    /// Whether the peer asked for another name than this.
    pub fn changed_from(&self, asked: &str) -> bool {
        self.0 != asked
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<Path> for FileName {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

/// Why a name cannot be made safe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing follows the last separator.
    #[error("the name {} has no last part; expected a file name such as photo.jpg", quoted(.asked))]
    Empty {
        /// The name as it came.
        asked: String,
    },
    /// The last component is `.` or `..`.
    #[error("the name {} means a directory; expected a file name such as photo.jpg", quoted(.asked))]
    Directory {
        /// The name as it came.
        asked: String,
    },
    /// A percent sign that does not begin an escape.
    #[error(
        "{} in the name {} is no percent escape; write a percent sign itself as %25",
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
}

/// Control characters would write to the terminal that lists them, a backslash separates elsewhere, the others reorder
/// or break what is shown.
fn is_offending(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\\' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Keeps a name out of the server's own: a peer that could write there could forge the state of a
/// transfer.
fn unhidden(name: String) -> String {
    // Of either case: some file systems do not tell them apart.
    let hidden = name
        .as_bytes()
        .get(..HIDDEN_PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(HIDDEN_PREFIX.as_bytes()));
    if hidden { format!("_{name}") } else { name }
}

/// Stem and extension; the extension begins with its dot, and is empty when there is none worth
/// keeping.
fn split_extension(name: &str) -> (&str, &str) {
    let Some(dot) = name.rfind('.') else { return (name, "") };
    let extension = &name[dot + 1..];
    let plausible = !extension.is_empty()
        && extension.len() <= MAX_EXTENSION_LEN
        && !extension.contains(char::is_whitespace);
    // A dot at the beginning hides a file and begins no extension.
    if dot == 0 || !plausible {
        return (name, "");
    }
    // `archive.tar.gz` is an archive, numbered or cut before both of its extensions.
    match name[..dot].strip_suffix(".tar") {
        Some(stem) if !stem.is_empty() => name.split_at(stem.len()),
        _ => name.split_at(dot),
    }
}

/// The longest beginning of `text` that has at most `len` bytes and ends between two characters.
fn cut(text: &str, len: usize) -> &str {
    &text[..text.floor_char_boundary(len)]
}

/// Only this one: a backslash may be part of a name where names come from, and `a\x` and `b\x` must stay two files.
const SEPARATOR: char = '/';

/// How the server's own part files and their state begin.
const HIDDEN_PREFIX: &str = ".anyport-";

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
        let text = name.as_str();
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
            ["photo.jpg", ".bashrc", "größe 2.txt", "...", "a..b", ".anyport", "-rf", "日本"]
        {
            assert_eq!(name(asked).as_str(), asked);
            assert!(!name(asked).changed_from(asked));
        }
    }

    #[test]
    fn only_the_last_component_is_kept() {
        for asked in ["/etc/passwd", "../../passwd", "a\\b/passwd", " passwd\t"] {
            assert_eq!(name(asked).as_str(), "passwd");
            assert!(name(asked).changed_from(asked));
        }
    }

    #[test]
    fn characters_that_lie_about_the_name_become_underscores() {
        assert_eq!(name("photo\u{202e}gpj.exe").as_str(), "photo_gpj.exe");
        assert_eq!(name("a\0b\nc\u{1b}[2J\u{7f}\u{9b}").as_str(), "a_b_c_[2J__");
        assert_eq!(name("a\u{2028}b\u{2029}c\u{61c}d\u{2066}e").as_str(), "a_b_c_d_e");
    }

    #[test]
    fn the_servers_own_part_files_cannot_be_named() {
        assert_eq!(name(".anyport-1.part").as_str(), "_.anyport-1.part");
        assert_eq!(name("x/ .AnyPort-1.part").as_str(), "_.AnyPort-1.part");
        assert_eq!(name(".anyport").numbered(1).as_str(), "_.anyport-1");
        assert_eq!(name(".anyport.part").numbered(1).as_str(), "_.anyport-1.part");
    }

    #[test]
    fn a_long_name_is_cut_between_characters_and_keeps_its_extension() {
        assert_eq!(name(&"a".repeat(255)).as_str().len(), 255);
        assert_eq!(name(&"a".repeat(300)).as_str(), "a".repeat(255));
        let long = name(&format!("{}.jpg", "ä".repeat(200)));
        assert_eq!(long.as_str(), format!("{}.jpg", "ä".repeat(125)));
        let prose = name(&format!("{}.{}", "a".repeat(250), "b".repeat(33)));
        assert_eq!(prose.as_str(), format!("{}.bbbb", "a".repeat(250)));
        assert_eq!(
            name(&format!("{} {}", "a".repeat(254), "b".repeat(9))).as_str(),
            "a".repeat(254)
        );
    }

    #[test]
    fn what_names_no_file_is_refused_with_advice() {
        for (asked, message) in [
            ("", r#"the name "" has no last part; expected a file name such as photo.jpg"#),
            (
                "photos/",
                r#"the name "photos/" has no last part; expected a file name such as photo.jpg"#,
            ),
            (" \t", r#"the name " \t" has no last part; expected a file name such as photo.jpg"#),
            (
                "a/..",
                r#"the name "a/.." means a directory; expected a file name such as photo.jpg"#,
            ),
            (" . ", r#"the name " . " means a directory; expected a file name such as photo.jpg"#),
        ] {
            assert_eq!(FileName::sanitize(asked).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_percent_encoded_name_is_decoded_before_it_is_made_safe() {
        let decoded = |asked| FileName::from_percent_encoded(asked).unwrap();
        assert_eq!(decoded("gr%C3%B6%C3%9fe%20100%25.txt").as_str(), "größe 100%.txt");
        assert_eq!(decoded("..%2f..%2Fetc%5Cpasswd").as_str(), "etc_passwd");
        assert_eq!(decoded("a+b%00").as_str(), "a+b_");
        assert_eq!(
            FileName::from_percent_encoded("%2e%2E"),
            Err(NameError::Directory { asked: "..".to_owned() })
        );
    }

    #[test]
    fn a_name_that_does_not_decode_is_refused_with_the_place() {
        for (asked, message) in [
            (
                "a%zz",
                r#""%zz" in the name "a%zz" is no percent escape; write a percent sign itself as %25"#,
            ),
            (
                "100%",
                r#""%" in the name "100%" is no percent escape; write a percent sign itself as %25"#,
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
            assert_eq!(name(asked).numbered(1).as_str(), numbered);
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
