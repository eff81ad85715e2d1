//! Paths of files as peers send them, safe to follow below a directory.
//!
//! A [`FilePath`] is a relative path of [`FileName`]s: code with one may join it to a directory
//! and stays below it, may print it, and never names one of the server's own partial files. Two
//! ways lead here:
//!
//! - [`FilePath::exact`] takes a path as it is, or refuses it.
//! - [`FilePath::sanitize`] is for a file that is to be stored under a name that cannot be taken as
//!   it is: what is not allowed is mapped, as [`FileName`] does it.
//!
//! On the wire a path is text, `name`. Where that text is not exactly the path (bytes that are not
//! UTF-8, white space at the end of a name, a backslash), `name_raw` beside it has the bytes,
//! percent-encoded.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Serialize, Serializer};

use super::file_name::{self, FileName, NameError, escaped};
use super::percent;
use super::words::quoted;
use crate::limits::{MAX_PATH_COMPONENTS, MAX_PATH_LEN};

/// A path that stays below whatever directory it is joined to: one or more file names with `/`
/// between them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FilePath(Vec<u8>);

impl FilePath {
    /// Makes the path that a peer wants to store under safe: each component as
    /// [`FileName::sanitize`] does, without those that name no directory (empty ones, `.`) and
    /// those that lead upwards (`..`).
    ///
    /// [`FilePath::changed_from`] says whether anything had to be changed.
    ///
    /// # Errors
    /// The last component names no file, or the path is too deep or too long.
    pub fn sanitize(asked: &str) -> Result<Self, PathError> {
        let (directories, last) = asked.rsplit_once('/').unwrap_or(("", asked));
        let file = FileName::sanitize(last).map_err(|source| PathError::Name { source })?;
        let directories = directories.split('/').filter_map(|component| {
            // What cannot be made a name leads nowhere: it is empty, or one of the two dots.
            FileName::sanitize(component).ok()
        });
        let names: Vec<FileName> = directories.chain([file]).collect();
        let names: Vec<&[u8]> = names.iter().map(FileName::as_bytes).collect();
        Self::fitting(names.join(&SEPARATOR))
    }

    /// Returns the path to store under for one that came percent-encoded, as in a URL: exactly its
    /// bytes where they are a path, else as [`FilePath::sanitize`] maps them.
    ///
    /// A decoded `/` separates like any other.
    ///
    /// # Errors
    /// As [`FilePath::sanitize`], or the escapes are malformed.
    pub fn from_percent_encoded(asked: &str) -> Result<Self, PathError> {
        Self::to_store("", Some(asked)).map(|(path, _)| path)
    }

    /// Returns the path with exactly these bytes.
    ///
    /// # Errors
    /// It is empty, absolute, holds an empty component, `.` or `..`, or a name that is not allowed.
    pub fn exact(path: &[u8]) -> Result<Self, PathError> {
        if path.is_empty() {
            return Err(PathError::Empty);
        }
        for component in path.split(|byte| *byte == SEPARATOR) {
            file_name::check(component).map_err(|source| PathError::Component {
                component: escaped(component),
                path: escaped(path),
                source,
            })?;
        }
        Self::fitting(path.to_vec())
    }

    /// Parses a path from text, in the same way.
    ///
    /// # Errors
    /// As [`FilePath::exact`].
    pub fn parse(text: &str) -> Result<Self, PathError> {
        Self::exact(text.as_bytes())
    }

    /// Parses a percent-encoded path, in the same way.
    ///
    /// # Errors
    /// As [`FilePath::exact`], or the escapes are malformed.
    pub fn parse_percent_encoded(text: &str) -> Result<Self, PathError> {
        Self::exact(&decode(text)?)
    }

    /// Returns the path that a peer means by `name`, and by `name_raw` where it sent one.
    ///
    /// # Errors
    /// As [`FilePath::parse_percent_encoded`] for `raw`, else as [`FilePath::parse`].
    pub fn of_peer(name: &str, raw: Option<&str>) -> Result<Self, PathError> {
        raw.map_or_else(|| Self::parse(name), Self::parse_percent_encoded)
    }

    /// Returns the path to store an upload under that asks for `name`, and for `name_raw` where it
    /// sent one; and whether another path was asked for than that.
    ///
    /// # Errors
    /// As [`FilePath::sanitize`], or the escapes of `raw` are malformed.
    pub fn to_store(name: &str, raw: Option<&str>) -> Result<(Self, bool), PathError> {
        let Some(raw) = raw else {
            let path = Self::sanitize(name)?;
            let changed = path.changed_from(name);
            return Ok((path, changed));
        };
        let bytes = decode(raw)?;
        if let Ok(path) = Self::exact(&bytes) {
            return Ok((path, false));
        }
        let text = String::from_utf8_lossy(&bytes);
        let path = Self::sanitize(&text)?;
        let changed = path.changed_from(&text) || text.as_bytes() != bytes;
        Ok((path, changed))
    }

    /// Returns the path of `name` in this directory.
    ///
    /// # Errors
    /// It would be too deep or too long.
    pub fn join(&self, name: &FileName) -> Result<Self, PathError> {
        Self::fitting([&self.0[..], name.as_bytes()].join(&SEPARATOR))
    }

    /// Returns the path, as the file system stores it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the path as text: exact, or the nearest one where [`FilePath::raw`] says what it is.
    pub fn text(&self) -> String {
        self.names().map(|name| name.text().into_owned()).collect::<Vec<_>>().join("/")
    }

    /// Returns the bytes of the path, percent-encoded, where [`FilePath::text`] is not exactly the
    /// path.
    pub fn raw(&self) -> Option<String> {
        (self.text().as_bytes() != self.0).then(|| self.percent_encoded())
    }

    /// Returns the path as it stands in a URL or a preface: of each component all but letters,
    /// digits and `-._~` encoded.
    pub fn percent_encoded(&self) -> String {
        self.components().map(percent::encode_bytes).collect::<Vec<_>>().join("/")
    }

    /// Returns the path as a person types it behind the host of a URL: what would mean something
    /// else there is encoded.
    pub fn typed(&self) -> String {
        self.components().map(percent::encode_typed).collect::<Vec<_>>().join("/")
    }

    /// Its components, from the outermost directory to the file.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|byte| *byte == SEPARATOR)
    }

    fn names(&self) -> impl DoubleEndedIterator<Item = FileName> {
        self.components().map(|name| FileName::exact(name).expect("each component is a name"))
    }

    /// Returns the last component: the file's own name.
    pub fn file_name(&self) -> FileName {
        self.names().next_back().expect("a path has a component")
    }

    /// Returns the directory that it is in; none at the top.
    pub fn parent(&self) -> Option<Self> {
        let at = self.0.iter().rposition(|byte| *byte == SEPARATOR)?;
        Some(Self(self.0[..at].to_vec()))
    }

    /// Returns whether it is in `directory`, at any depth.
    pub fn is_below(&self, directory: &Self) -> bool {
        self.0.strip_prefix(&directory.0[..]).is_some_and(|rest| rest.starts_with(&[SEPARATOR]))
    }

    /// Returns the `n`th name beside this one, for when it is taken: `a/photo.jpg` becomes
    /// `a/photo-1.jpg`.
    ///
    /// # Errors
    /// It would be too long.
    pub fn numbered(&self, n: u32) -> Result<Self, PathError> {
        let name = self.file_name().numbered(n);
        match self.parent() {
            Some(parent) => parent.join(&name),
            None => Ok(name.into()),
        }
    }

    /// Returns whether the peer asked for another path than this. `//`, `/./` and a slash at the
    /// beginning change nothing.
    pub fn changed_from(&self, asked: &str) -> bool {
        let asked = asked.split('/').filter(|component| !matches!(*component, "" | "."));
        !self.components().eq(asked.map(str::as_bytes))
    }

    /// Its components are safe; checks that they are not too many, and not too long together.
    fn fitting(path: Vec<u8>) -> Result<Self, PathError> {
        if path.split(|byte| *byte == SEPARATOR).count() > MAX_PATH_COMPONENTS {
            return Err(PathError::TooDeep { asked: escaped(&path) });
        }
        if path.len() > MAX_PATH_LEN {
            return Err(PathError::TooLong { asked: escaped(&path) });
        }
        Ok(Self(path))
    }
}

impl From<FileName> for FilePath {
    fn from(name: FileName) -> Self {
        Self(name.as_bytes().to_vec())
    }
}

impl Serialize for FilePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&escaped(&self.0))
    }
}

impl AsRef<Path> for FilePath {
    fn as_ref(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }
}

/// Why a path cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Nothing is named.
    #[error("the path is empty; expected a path such as photos/a.jpg")]
    Empty,
    /// The file at the end of the path cannot be named so.
    #[error(transparent)]
    Name {
        /// What is wrong with it.
        source: NameError,
    },
    /// A component is not the name of a file or directory that is stored here.
    #[error(
        "{} is not allowed in the path {}; expected a relative path without ., \
        .. or empty components",
        quoted(.component), quoted(.path)
    )]
    Component {
        /// The component, escaped.
        component: String,
        /// The path, escaped.
        path: String,
        /// What is wrong with the component.
        source: NameError,
    },
    /// Too many directories.
    #[error("the path {} has more than {MAX_PATH_COMPONENTS} components", quoted(.asked))]
    TooDeep {
        /// The path, escaped.
        asked: String,
    },
    /// Too many bytes.
    #[error("the path {} has more than {MAX_PATH_LEN} bytes", quoted(.asked))]
    TooLong {
        /// The path, escaped.
        asked: String,
    },
}

impl PathError {
    /// Returns the reason without the path.
    pub fn reason(&self) -> String {
        match self {
            Self::Component { source, .. } => source.to_string(),
            other => other.to_string(),
        }
    }
}

/// Decodes a path of a URL to the text nearest to it.
///
/// # Errors
/// An escape is malformed.
pub fn decoded(text: &str) -> Result<String, PathError> {
    decode(text).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns a name of any bytes as it stands in the path of a URL.
pub fn encoded_bytes(name: &[u8]) -> String {
    percent::encode_bytes(name)
}

/// Returns a name as it stands in the path of a URL.
pub fn encoded(name: &str) -> String {
    percent::encode_name(name)
}

fn decode(asked: &str) -> Result<Vec<u8>, PathError> {
    percent::decode_bytes(asked)
        .map_err(|error| PathError::Name { source: file_name::malformed(asked, error) })
}

/// On every system: paths on the wire are not the host's.
const SEPARATOR: u8 = b'/';

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> FilePath {
        FilePath::parse(text).unwrap()
    }

    fn assert_safe(path: &FilePath) {
        let text = path.to_string();
        assert!(
            path.as_bytes().len() <= MAX_PATH_LEN
                && path.components().count() <= MAX_PATH_COMPONENTS
        );
        for component in path.components() {
            assert!(!matches!(component, b"" | b"." | b".."), "{text:?}");
            assert!(component.len() <= 255, "{text:?}");
            assert!(!component.to_ascii_lowercase().starts_with(b".anyport-"), "{text:?}");
            assert!(!component.iter().any(u8::is_ascii_control), "{text:?}");
        }
        let joined = Path::new("/dir").join(path);
        let mut depth = 0;
        for component in joined.components().skip(2) {
            assert!(matches!(component, std::path::Component::Normal(_)), "{joined:?}");
            depth += 1;
        }
        assert!(joined.starts_with("/dir") && depth == path.components().count(), "{joined:?}");
        assert_eq!(FilePath::exact(path.as_bytes()).as_ref(), Ok(path));
        let (name, raw) = (path.text(), path.raw());
        assert_eq!(FilePath::of_peer(&name, raw.as_deref()).as_ref(), Ok(path));
        // Clients of earlier versions take no other text.
        let text = FilePath::sanitize(&name).unwrap();
        assert!(!text.changed_from(&name), "{name:?}");
        assert_eq!(raw.is_none(), text == *path, "{name:?}");
    }

    /// Paths as they are stored.
    pub(crate) fn any_path() -> impl Strategy<Value = FilePath> {
        prop::collection::vec(any::<String>(), 1..5)
            .prop_filter_map("no path", |names| FilePath::sanitize(&names.join("/")).ok())
    }

    #[test]
    fn a_stored_path_is_used_exactly() {
        for text in ["a", "a/b.txt", "größe 2/日本/x", ".config/y", "a..b/..."] {
            assert_eq!(path(text).text(), text);
            assert_eq!(path(text).to_string(), text);
            assert_eq!(FilePath::sanitize(text), Ok(path(text)));
        }
        assert_eq!(path("a/b/c").components().collect::<Vec<_>>(), [b"a", b"b", b"c"]);
        assert_eq!(path("a/b/c").parent(), Some(path("a/b")));
        assert_eq!(path("c").parent(), None);
        assert_eq!(path("a/b/c.txt").file_name().text(), "c.txt");
        assert_eq!(path("a/b.txt").numbered(2).unwrap().text(), "a/b-2.txt");
        assert_eq!(path("a").join(&FileName::sanitize("b").unwrap()).unwrap().text(), "a/b");
    }

    #[test]
    fn an_invalid_stored_path_is_refused() {
        for text in [
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "a/",
            "/",
            ".",
            "..",
            "./a",
            "a/.",
            "a\0",
            "a\nb",
            "a/.anyport-1.part",
            ".anyport/uploads/0",
            "a/.anyport",
            ".AnyPort-x/a",
            "a\u{202e}b",
        ] {
            assert!(matches!(FilePath::parse(text), Err(PathError::Component { .. })), "{text:?}");
        }
        assert_eq!(FilePath::parse(""), Err(PathError::Empty));
        let message = FilePath::parse("../x").unwrap_err().to_string();
        assert!(message.starts_with(r#"".." is not allowed in the path "../x""#), "{message}");
    }

    #[test]
    fn a_path_to_store_under_is_mapped() {
        for (asked, mapped) in [
            ("../../etc/passwd", "etc/passwd"),
            ("a//./b/../c", "a/b/c"),
            ("report ", "report"),
            (".anyport-1/x\0y", "_.anyport-1/x_y"),
            (".anyport/uploads/x", "_.anyport/uploads/x"),
            ("a\\b/c", "a_b/c"),
        ] {
            let path = FilePath::sanitize(asked).unwrap();
            assert_eq!(path.text(), mapped);
            assert!(path.changed_from(asked));
        }
        for (asked, same) in [("/etc/passwd", "etc/passwd"), ("a//./b", "a/b")] {
            let path = FilePath::sanitize(asked).unwrap();
            assert_eq!((path.text().as_str(), path.changed_from(asked)), (same, false));
        }
        for asked in ["", "a/", "a/..", "/"] {
            assert!(matches!(FilePath::sanitize(asked), Err(PathError::Name { .. })), "{asked:?}");
        }
    }

    #[test]
    fn a_path_that_is_no_text_has_a_text_beside_its_bytes() {
        for (bytes, text, raw) in [
            (&b"d/caf\xe9"[..], "d/caf\u{fffd}", "d/caf%E9"),
            (b"end ", "end", "end%20"),
            (b" /x", "_/x", "%20/x"),
            (b"a\\b", "a_b", "a%5Cb"),
        ] {
            let path = FilePath::exact(bytes).unwrap();
            assert_eq!((path.text().as_str(), path.raw().as_deref()), (text, Some(raw)));
            assert_eq!(FilePath::of_peer(text, Some(raw)), Ok(path.clone()));
            assert_eq!(FilePath::from_percent_encoded(raw), Ok(path));
        }
        assert_eq!(path("50%?#\\ a").typed(), "50%25%3F%23%5C a");
        assert_eq!(FilePath::exact(b" a /\xe9 b").unwrap().typed(), "%20a%20/%E9 b");
    }

    #[test]
    fn paths_have_a_depth_and_a_length() {
        let deep = |count: usize| vec!["a"; count].join("/");
        assert_eq!(path(&deep(MAX_PATH_COMPONENTS)).components().count(), MAX_PATH_COMPONENTS);
        for made in [FilePath::parse, FilePath::sanitize] {
            let error = made(&deep(MAX_PATH_COMPONENTS + 1)).unwrap_err();
            assert!(matches!(error, PathError::TooDeep { .. }));
            let long = vec!["a".repeat(255); 4].join("/");
            assert_eq!(made(&long).unwrap().as_bytes().len(), 1023);
            assert!(matches!(made(&format!("{long}/a")), Err(PathError::TooLong { .. })));
        }
    }

    #[test]
    fn escapes_are_decoded_before_anything_is_checked() {
        assert_eq!(FilePath::parse_percent_encoded("a%20b/c%2Fd").unwrap().text(), "a b/c/d");
        assert!(FilePath::parse_percent_encoded("%2e%2e/x").is_err());
        assert!(FilePath::parse_percent_encoded("%2Fetc/passwd").is_err());
        // Decoded once and not twice.
        assert_eq!(FilePath::parse_percent_encoded("%252e%252e").unwrap().text(), "%2e%2e");
        let error = FilePath::from_percent_encoded("a%zz").unwrap_err().to_string();
        assert!(error.contains("is not a percent escape"), "{error}");
    }

    proptest! {
        #[test]
        fn no_path_leaves_its_directory(asked in "[./a\\\\ %2eE\0-]{0,40}|(\\.\\./){0,40}.*|.*") {
            let made = [
                FilePath::sanitize(&asked),
                FilePath::parse(&asked),
                FilePath::from_percent_encoded(&asked),
                FilePath::parse_percent_encoded(&asked),
            ];
            for path in made.into_iter().flatten() {
                assert_safe(&path);
                if let Ok(numbered) = path.numbered(7) {
                    assert_safe(&numbered);
                    prop_assert_ne!(numbered, path);
                }
            }
        }

        #[test]
        fn a_path_survives_being_encoded_and_decoded(path in any_path()) {
            assert_safe(&path);
            let encoded = path.percent_encoded();
            prop_assert!(encoded.is_ascii() && !encoded.contains([' ', '\\']));
            let parsed = FilePath::parse_percent_encoded(&encoded);
            prop_assert_eq!(parsed.as_ref(), Ok(&path));
            prop_assert_eq!(FilePath::from_percent_encoded(&encoded), Ok(path));
        }
    }
}
