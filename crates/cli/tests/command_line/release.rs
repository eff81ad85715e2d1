//! `--version`, and what `scripts/release` refuses. `scripts/drill packages` tests its results.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyport_testkit::harness::{Outcome, Running, anyport, peer};
use tempfile::TempDir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

#[test]
fn the_version_is_that_of_the_crate_and_a_release_adds_its_commit() {
    let version = concat!("anyport ", env!("CARGO_PKG_VERSION"));
    assert_eq!(anyport(&["-V"]).succeeds().stdout.trim_end(), version);
    let long = anyport(&["--version"]).succeeds().stdout;
    let commit = regex::Regex::new(r"^( \([0-9a-f]{9} [0-9]{4}-[0-9]{2}-[0-9]{2}\))?\n$").unwrap();
    assert!(commit.is_match(long.strip_prefix(version).unwrap()), "{long}");
}

/// A repository of one commit, with the script.
fn repository() -> TempDir {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    fs::create_dir(path("scripts")).unwrap();
    fs::copy(root().join("scripts/release"), path("scripts/release")).unwrap();
    for arguments in [
        &["init", "--quiet"][..],
        &["add", "--all"],
        &["-c", "user.name=a", "-c", "user.email=a@example", "commit", "--quiet", "--message=one"],
    ] {
        let mut git = Command::new("git");
        git.arg("-C").arg(scratch.path()).args(arguments);
        Running::start(git, None).outcome().succeeds();
    }
    scratch
}

/// What the script prints in `repository` if there are no programs but the most ordinary ones.
fn release(repository: &TempDir) -> Outcome {
    let bin = tempfile::tempdir().unwrap();
    for name in ["bash", "cat", "dirname", "git", "head", "sed"] {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap())
            .map(|directory| directory.join(name))
            .find(|path| path.exists());
        symlink(found.unwrap(), bin.path().join(name)).unwrap();
    }
    let mut script = Command::new(bin.path().join("bash"));
    script.arg(repository.path().join("scripts/release")).env("PATH", bin.path());
    let outcome = Running::start(script, None).outcome();
    let left: Vec<_> = fs::read_dir(repository.path()).unwrap().map(|e| e.unwrap()).collect();
    assert!(
        !left.iter().any(|entry| ["dist", "target"].map(Into::into).contains(&entry.file_name()))
    );
    outcome
}

#[test]
fn a_release_without_its_tools_prints_the_command_that_installs_each_and_builds_nothing() {
    let Some(_) = peer("git") else { return };
    let outcome = release(&repository()).exits(1);
    for line in [
        "release: missing musl-gcc\nhint: apt-get install musl-tools\n",
        "hint: rustup target add x86_64-unknown-linux-musl\n",
        "release: missing cargo-deb\nhint: cargo install --locked cargo-deb\n",
        "hint: cargo install --locked cargo-auditable\n",
    ] {
        assert!(outcome.stderr.contains(line), "no {line:?} in {}", outcome.stderr);
    }
    assert!(!outcome.stderr.contains("changes"), "{}", outcome.stderr);
}

#[test]
fn a_release_of_a_changed_tree_names_the_changes_and_builds_nothing() {
    let Some(_) = peer("git") else { return };
    let repository = repository();
    fs::write(repository.path().join("new.txt"), "").unwrap();
    release(&repository).exits(1).says("the working tree has changes:\n?? new.txt\nhint: commit");
}

#[test]
fn scripts_of_packages_are_valid() {
    let root = root();
    for (shell, directory) in
        [("bash", "scripts"), ("sh", "packaging/debian"), ("sh", "packaging/rpm")]
    {
        for entry in fs::read_dir(root.join(directory)).unwrap() {
            let path = entry.unwrap().path();
            let first = fs::read_to_string(&path).unwrap();
            if shell == "bash" && !first.starts_with("#!/usr/bin/env bash\n") {
                continue;
            }
            let mut check = Command::new(shell);
            check.arg("-n").arg(&path);
            assert_eq!(Running::start(check, None).outcome().succeeds().stderr, "", "{path:?}");
        }
    }
}
