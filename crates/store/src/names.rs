//! Names of hidden files (`.anyport-<key>.part` and `.anyport-<key>.state`), and names that the
//! file system does not distinguish.

use std::io;

use anyport_proto::transfer::file_name::SHARES;

const PREFIX: &str = ".anyport-";
const PARTIAL: &str = ".part";
const STATE: &str = ".state";

/// The name of the partial file of `key`.
pub(crate) fn partial(key: &str) -> String {
    format!("{PREFIX}{key}{PARTIAL}")
}

/// The name of the state file of `key`.
pub(crate) fn state(key: &str) -> String {
    format!("{PREFIX}{key}{STATE}")
}

/// The key of the partial file `name`; `None` for other names.
pub(crate) fn key_of(name: &str) -> Option<&str> {
    name.strip_prefix(PREFIX)?.strip_suffix(PARTIAL)
}

/// The name of a partial file that cannot be resumed.
pub(crate) fn random() -> io::Result<String> {
    let mut id = [0; 8];
    getrandom::fill(&mut id)?;
    Ok(partial(&format!("{:016x}", u64::from_be_bytes(id))))
}

/// Returns whether `name` is that of a partial file of some version of `origin`.
pub(crate) fn is_version_of(name: &str, origin: &str) -> bool {
    let version = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix(origin));
    version.is_some_and(|version| version.starts_with('-') && version.ends_with(PARTIAL))
}

/// Returns whether `name` is that of a partial file or a state file.
pub(crate) fn is_hidden(name: &str) -> bool {
    name.starts_with(PREFIX) && (name.ends_with(PARTIAL) || name.ends_with(STATE))
}

/// Returns whether `name` is that of a state file.
pub(crate) fn is_state(name: &str) -> bool {
    is_hidden(name) && name.ends_with(STATE)
}

/// Returns whether `name` is that of a small file of the server itself, which no limit counts.
pub(crate) fn is_uncounted(name: &str) -> bool {
    is_state(name) || name == SHARES
}

/// The partial file that a state file belongs to; `None` for other names.
pub(crate) fn partial_of(name: &str) -> Option<String> {
    name.strip_suffix(STATE).map(|key| format!("{key}{PARTIAL}"))
}

/// The state file that belongs to a partial file; `None` for other names.
pub(crate) fn state_of(name: &str) -> Option<String> {
    name.strip_suffix(PARTIAL).map(|key| format!("{key}{STATE}"))
}

/// Returns the reason why `asked` cannot be stored beside `other`.
pub fn not_distinguished(asked: &str, other: &str) -> String {
    format!("{asked} exists as {other}: the file system does not distinguish these names")
}
