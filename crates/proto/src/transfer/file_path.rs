//! Paths of files as peers send them, made safe to follow below a directory.
//!
//! A [`FilePath`] is a relative path of [`FileName`]s: whoever holds one may join it to a directory and stays below it,
//! may print it, and never names one of the server's own hidden part files. Two ways lead here:
//!
//! - [`FilePath::sanitize`] for a file that is to be stored: what may not stand is mapped, as [`FileName`] does it.
//! - [`FilePath::parse`] for a file that is there already: a name as it is stored, or an error. A file whose name is no
//!   such name is not seen by peers at all.

use std::fmt;
use std::path::Path;

use serde::{Serialize, Serializer};

use super::file_name::{FileName, NameError};
use super::percent::{self, DecodeError};
use super::words::quoted;
use crate::limits::{MAX_PATH_COMPONENTS, MAX_PATH_LEN};

/// A path that stays below whatever directory it is joined to: one or more file names with `/` between them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FilePath(String);

impl FilePath {
    /// Makes the path that a peer wants to store under safe: each component as [`FileName::sanitize`] does, without
    /// those that name no directory (empty ones, `.`) and those that lead upwards (`..`).
    ///
    /// What is safe already stays as it is; [`FilePath::changed_from`] tells.
    ///
    /// # Errors
    /// The last component names no file, or the path is too deep or too long.
    pub fn sanitize(asked: &str) -> Result<Self, PathError> {
        let (directories, last) = asked.rsplit_once(SEPARATOR).unwrap_or(("", asked));
        let file = FileName::sanitize(last).map_err(|source| PathError::Name { source })?;
        let directories = directories.split(SEPARATOR).filter_map(|component| {
            // What cannot be made a name leads nowhere: it is empty, or one of the two dots.
            FileName::sanitize(component).ok()
        });
        let names: Vec<FileName> = directories.chain([file]).collect();
        let names: Vec<&str> = names.iter().map(FileName::as_str).collect();
        Self::fitting(&names, asked)
    }

    /// The same for a path that came percent-encoded; a decoded `/` separates like any other.
    ///
    /// # Errors
    /// As [`FilePath::sanitize`], or the escapes are malformed.
    pub fn from_percent_encoded(asked: &str) -> Result<Self, PathError> {
        Self::sanitize(&decode(asked)?)
    }

    /// The path of a file as it is stored.
    ///
    /// # Errors
    /// It is empty, absolute, holds an empty component, `.` or `..`, or a name that [`FileName`] would have to change.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        let names: Vec<&str> = text.split(SEPARATOR).collect();
        let is_name =
            |name: &str| FileName::sanitize(name).is_ok_and(|safe| !safe.changed_from(name));
        if let Some(bad) = names.iter().find(|name| !is_name(name)) {
            return Err(PathError::Component {
                component: (*bad).to_owned(),
                path: text.to_owned(),
            });
        }
        Self::fitting(&names, text)
    }

    /// The same for a path that came percent-encoded.
    ///
    /// # Errors
    /// As [`FilePath::parse`], or the escapes are malformed.
    pub fn parse_percent_encoded(text: &str) -> Result<Self, PathError> {
        Self::parse(&decode(text)?)
    }

    /// The path of `name` in this directory.
    ///
    /// # Errors
    /// It would be too deep or too long.
    pub fn join(&self, name: &FileName) -> Result<Self, PathError> {
        let names: Vec<&str> = self.components().chain([name.as_str()]).collect();
        Self::fitting(&names, &self.0)
    }

    /// The path, as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path as it stands in a URL or a preface: of each component all but letters, digits and `-._~` encoded.
    pub fn percent_encoded(&self) -> String {
        self.components().map(percent::encode_name).collect::<Vec<_>>().join("/")
    }

    /// Its components, from the outermost directory to the file.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split(SEPARATOR)
    }

    /// The last component: the file's own name.
    pub fn file_name(&self) -> FileName {
        let last = self.components().next_back().unwrap_or_default();
        FileName::sanitize(last).expect("each component is a name")
    }

    /// The directory that it is in; none at the top.
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once(SEPARATOR).map(|(parent, _)| Self(parent.to_owned()))
    }

    /// The `n`th name beside this one, for when it is taken: `a/photo.jpg` becomes `a/photo-1.jpg`.
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

    /// Whether the peer asked for another path than this.
    pub fn changed_from(&self, asked: &str) -> bool {
        self.0 != asked
    }

    /// `names` are safe; whether they are not too many, and not too long together.
    fn fitting(names: &[&str], asked: &str) -> Result<Self, PathError> {
        if names.len() > MAX_PATH_COMPONENTS {
            return Err(PathError::TooDeep { asked: asked.to_owned() });
        }
        let path = names.join("/");
        if path.len() > MAX_PATH_LEN {
            return Err(PathError::TooLong { asked: asked.to_owned() });
        }
        Ok(Self(path))
    }
}

impl From<FileName> for FilePath {
    fn from(name: FileName) -> Self {
        Self(name.as_str().to_owned())
    }
}

impl Serialize for FilePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<Path> for FilePath {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
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
        "{} in the path {} is no name of a stored file; a path is relative, without . and .. and empty parts",
        quoted(.component), quoted(.path)
    )]
    Component {
        /// The component as it came.
        component: String,
        /// The path as it came.
        path: String,
    },
    /// Too many directories.
    #[error("the path {} has more than {MAX_PATH_COMPONENTS} components", quoted(.asked))]
    TooDeep {
        /// The path as it came.
        asked: String,
    },
    /// Too many bytes.
    #[error("the path {} has more than {MAX_PATH_LEN} bytes", quoted(.asked))]
    TooLong {
        /// The path as it came.
        asked: String,
    },
}

fn decode(asked: &str) -> Result<String, PathError> {
    percent::decode(asked).map_err(|error| {
        let asked = asked.to_owned();
        let source = match error {
            DecodeError::Malformed(escape) => NameError::MalformedEscape { asked, escape },
            DecodeError::NotUtf8 => NameError::NotUtf8 { asked },
        };
        PathError::Name { source }
    })
}

/// On every system: paths on the wire are not the host's.
const SEPARATOR: char = '/';

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> FilePath {
        FilePath::parse(text).unwrap()
    }

    fn assert_safe(path: &FilePath) {
        let text = path.as_str();
        assert!(text.len() <= MAX_PATH_LEN && path.components().count() <= MAX_PATH_COMPONENTS);
        for component in path.components() {
            assert!(!matches!(component, "" | "." | ".."), "{text:?}");
            assert!(component.len() <= 255, "{text:?}");
            assert!(!component.to_lowercase().starts_with(".anyport-"), "{text:?}");
            assert!(!component.contains(|c: char| c.is_control()), "{text:?}");
        }
        let joined = Path::new("/dir").join(path);
        let mut depth = 0;
        for component in joined.components().skip(2) {
            assert!(matches!(component, std::path::Component::Normal(_)), "{joined:?}");
            depth += 1;
        }
        assert!(joined.starts_with("/dir") && depth == path.components().count(), "{joined:?}");
        assert_eq!(FilePath::parse(text).as_ref(), Ok(path), "made safe, it is no stored name");
        assert_eq!(FilePath::sanitize(text).as_ref(), Ok(path), "sanitizing twice differs");
    }

    /// Paths as they are stored.
    pub(in crate::transfer) fn any_path() -> impl Strategy<Value = FilePath> {
        prop::collection::vec(any::<String>(), 1..5)
            .prop_filter_map("no path", |names| FilePath::sanitize(&names.join("/")).ok())
    }

    #[test]
    fn a_stored_path_is_taken_as_it_is() {
        for text in ["a", "a/b.txt", "größe 2/日本/x", ".config/y", "a..b/..."] {
            assert_eq!(path(text).as_str(), text);
            assert_eq!(FilePath::sanitize(text).unwrap().as_str(), text);
        }
        assert_eq!(path("a/b/c").components().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(path("a/b/c").parent(), Some(path("a/b")));
        assert_eq!(path("c").parent(), None);
        assert_eq!(path("a/b/c.txt").file_name().as_str(), "c.txt");
        assert_eq!(path("a/b.txt").numbered(2).unwrap().as_str(), "a/b-2.txt");
        assert_eq!(path("a").join(&FileName::sanitize("b").unwrap()).unwrap().as_str(), "a/b");
    }

    #[test]
    fn what_is_no_stored_path_is_refused() {
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
            " a",
            "a\\b",
            "a\0",
            "a\nb",
            "a/.anyport-1.part",
            ".AnyPort-x/a",
            "a\u{202e}b",
        ] {
            assert!(matches!(FilePath::parse(text), Err(PathError::Component { .. })), "{text:?}");
        }
        assert_eq!(FilePath::parse(""), Err(PathError::Empty));
        let message = FilePath::parse("../x").unwrap_err().to_string();
        assert!(
            message.starts_with(r#"".." in the path "../x" is no name of a stored"#),
            "{message}"
        );
    }

    #[test]
    fn a_path_to_store_under_is_mapped() {
        for (asked, mapped) in [
            ("/etc/passwd", "etc/passwd"),
            ("../../etc/passwd", "etc/passwd"),
            ("a//./b/../c", "a/b/c"),
            (".anyport-1/x\0y", "_.anyport-1/x_y"),
            ("a\\b/c", "a_b/c"),
        ] {
            let path = FilePath::sanitize(asked).unwrap();
            assert_eq!(path.as_str(), mapped);
            assert!(path.changed_from(asked));
        }
        for asked in ["", "a/", "a/..", "/"] {
            assert!(matches!(FilePath::sanitize(asked), Err(PathError::Name { .. })), "{asked:?}");
        }
    }

    #[test]
    fn paths_have_a_depth_and_a_length() {
        let deep = |count: usize| vec!["a"; count].join("/");
        assert_eq!(path(&deep(MAX_PATH_COMPONENTS)).components().count(), MAX_PATH_COMPONENTS);
        for made in [FilePath::parse, FilePath::sanitize] {
            let error = made(&deep(MAX_PATH_COMPONENTS + 1)).unwrap_err();
            assert!(matches!(error, PathError::TooDeep { .. }));
            let long = vec!["a".repeat(255); 4].join("/");
            assert_eq!(made(&long).unwrap().as_str().len(), 1023);
            assert!(matches!(made(&format!("{long}/a")), Err(PathError::TooLong { .. })));
        }
    }

    #[test]
    fn escapes_are_decoded_before_anything_is_checked() {
        assert_eq!(FilePath::parse_percent_encoded("a%20b/c%2Fd").unwrap().as_str(), "a b/c/d");
        assert!(FilePath::parse_percent_encoded("%2e%2e/x").is_err());
        assert!(FilePath::parse_percent_encoded("%2Fetc/passwd").is_err());
        // Decoded once and not twice.
        assert_eq!(FilePath::parse_percent_encoded("%252e%252e").unwrap().as_str(), "%2e%2e");
        let error = FilePath::from_percent_encoded("a%zz").unwrap_err().to_string();
        assert!(error.contains("is no percent escape"), "{error}");
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
