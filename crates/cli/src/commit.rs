//! The commit that a build comes from, for `anyport --version`. Part of `build.rs`.

/// Returns `COMMIT DATE` of a line with the full hash and the date of a commit, cut as rustc cuts
/// it; `None` for any other line.
pub(crate) fn short(line: &str) -> Option<String> {
    let (hash, date) = line.trim().split_once(' ')?;
    let is_hash = hash.len() >= 40 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_date = date.len() == 10 && date.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'-'));
    (is_hash && is_date).then(|| format!("{} {date}", &hash[..9]))
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn a_commit_is_cut_and_any_other_line_is_none() {
        let commit = "c3f350ce0d1d4bcb1f19b1f4e1a1b5f2a0c08d4b 2026-11-30\n";
        assert_eq!(short(commit).as_deref(), Some("c3f350ce0 2026-11-30"));
        for other in [
            "$Format:%H %cs$\n",
            "",
            "c3f350ce0 2026-11-30",
            "c3f350ce0d1d4bcb1f19b1f4e1a1b5f2a0c08d4b",
            "c3f350ce0d1d4bcb1f19b1f4e1a1b5f2a0c08d4b yesterday!",
            "fatal: not a git repository (or any of the parent directories)",
        ] {
            assert_eq!(short(other), None, "{other:?}");
        }
    }
}
