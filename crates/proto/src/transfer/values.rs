//! Values that the preface line and JSON share: parsers, limits, and their descriptions in errors.

/// Returns whether `id` can identify a transfer. It appears in messages, never in a path.
pub(crate) fn is_id(id: &str) -> bool {
    (1..=MAX_ID_LEN).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Parses permission bits from octal digits, without a sign or bits of the file type.
pub(crate) fn parse_mode(text: &str) -> Option<u32> {
    let octal = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = octal.then(|| u32::from_str_radix(text, 8).ok())??;
    (mode <= MAX_MODE).then_some(mode)
}

// Expected values, for error messages.
pub(crate) const RAW: &str = "percent-encoded bytes";
pub(crate) const BYTES: &str = "a number of bytes";
pub(crate) const ALGORITHM: &str = "blake3, sha256 or none";
pub(crate) const DIGEST: &str = "blake3: or sha256: and 64 hexadecimal digits";
pub(crate) const MTIME: &str = "whole seconds since 1970";
pub(crate) const MTIME_NS: &str = "0 to 999999999 nanoseconds, beside mtime";
pub(crate) const MODE: &str = "permission bits in octal, such as 644";
pub(crate) const ID: &str = "1 to 64 of A-Z a-z 0-9 _ -";
pub(crate) const EXISTS: &str = "error, overwrite or rename";
pub(crate) const TOKEN: &str = "a non-empty text";
pub(crate) const TEXT: &str = "a text";

const MAX_ID_LEN: usize = 64;

/// All permission bits, with set-user-id, set-group-id and sticky.
pub(crate) const MAX_MODE: u32 = 0o7777;
