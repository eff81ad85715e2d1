//! The path under which clients reach a server behind a reverse proxy.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::RequestHead;

/// A prefix of the paths of all requests, such as `/share`; the default is none.
///
/// Some proxies remove it before they forward a request and others do not, so a request may have it
/// or not. Every path that a response names has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BasePath(Option<Arc<str>>);

/// Why a text is no base path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid base path {0:?}: expected /NAME or /NAME/NAME with letters, digits and -._~ \
     in each NAME"
)]
pub struct BasePathError(String);

impl BasePath {
    /// No prefix.
    pub const NONE: Self = Self(None);

    /// Returns the text that precedes each path: empty, or without a slash at its end.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// Returns the path at which clients reach `path`, which begins with a slash.
    pub fn public(&self, path: &str) -> String {
        format!("{}{path}", self.as_str())
    }

    /// Removes it from the target of a request.
    ///
    /// A target that is exactly this is then without a path ([`RequestHead::is_without_path`]):
    /// relative links do not lead below it.
    pub fn strip(&self, head: &mut RequestHead) {
        let Some(base) = self.0.as_deref() else { return };
        let path = head.path();
        let Some(rest) = path.strip_prefix(base) else { return };
        if rest.is_empty() || rest.starts_with('/') {
            let query = head.query().map_or(0, |query| query.len() + 1);
            let at = head.target.len() - query - path.len();
            head.target.replace_range(at..at + base.len(), "");
        }
    }
}

impl FromStr for BasePath {
    type Err = BasePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = text.strip_suffix('/').unwrap_or(text);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
        let is_name = |name: &str| !["", ".", ".."].contains(&name) && name.chars().all(is_plain);
        match path.strip_prefix('/') {
            Some(names) if names.split('/').all(is_name) => Ok(Self(Some(path.into()))),
            _ => Err(BasePathError(text.to_owned())),
        }
    }
}

impl fmt::Display for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{HeadReader, Pushed};
    use super::*;
    use crate::limits::Limits;

    fn stripped(target: &str) -> (String, bool) {
        let wire = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        match HeadReader::new().push(wire.as_bytes(), &Limits::default()) {
            Ok(Pushed::Done { mut head, .. }) => {
                "/a/b".parse::<BasePath>().unwrap().strip(&mut head);
                assert_eq!(head.host(), "a");
                (head.target.clone(), head.is_without_path())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_prefix_is_removed_at_the_end_of_a_name_only() {
        for (target, expected) in [
            ("/a/b/", "/"),
            ("/a/b/c%20d?x=/a/b", "/c%20d?x=/a/b"),
            ("/a/b/a/b/", "/a/b/"),
            ("/a/b//c", "//c"),
            ("/a/bc", "/a/bc"),
            ("/a", "/a"),
            ("/", "/"),
            ("/c/a/b/", "/c/a/b/"),
            ("/a/%62/", "/a/%62/"),
            ("http://a/a/b/c?d", "http://a/c?d"),
        ] {
            assert_eq!(stripped(target), (expected.to_owned(), false), "{target}");
        }
        assert_eq!(stripped("/a/b"), (String::new(), true));
        assert_eq!(stripped("/a/b?c"), ("?c".to_owned(), true));
        assert_eq!(stripped("http://a/a/b"), ("http://a".to_owned(), true));
    }

    #[test]
    fn a_base_path_has_plain_names() {
        for (text, path) in [("/a", "/a"), ("/a/", "/a"), ("/a.b/~c-d_1", "/a.b/~c-d_1")] {
            assert_eq!(text.parse::<BasePath>().unwrap().public("/x"), format!("{path}/x"));
        }
        for text in ["", "/", "a", "a/", "//a", "/a//b", "/..", "/a/./b", "/a b", "/a?", "/%61"] {
            assert!(text.parse::<BasePath>().is_err(), "{text}");
        }
        assert_eq!(BasePath::default().public("/x"), "/x");
    }
}
