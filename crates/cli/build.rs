//! Sets `LONG_VERSION`, which `anyport --version` prints: the version, and the commit and its
//! date where they are known. `git archive` writes them into commit.txt; in a checkout a release
//! build asks git. A debug build does not, so that a commit does not compile it again, and the
//! published crate has no commit.txt.

use std::process::Command;
use std::{env, fs};

#[path = "src/commit.rs"]
mod commit;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/commit.rs");
    let archived = fs::read_to_string("commit.txt").ok();
    if archived.is_some() {
        println!("cargo::rerun-if-changed=commit.txt");
    }
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = archived
        .and_then(|line| commit::short(&line).or_else(|| is_release.then(from_git).flatten()));
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let version = commit.map_or_else(|| version.clone(), |commit| format!("{version} ({commit})"));
    println!("cargo::rustc-env=LONG_VERSION={version}");
}

/// Returns the commit that is checked out, if this directory is that of the crate in its own
/// repository, and not one that was copied into another.
fn from_git() -> Option<String> {
    if git(&["rev-parse", "--show-prefix"])?.trim() != "crates/cli/" {
        return None;
    }
    // It changes with each commit and each checkout.
    println!("cargo::rerun-if-changed={}", git(&["rev-parse", "--git-path", "logs/HEAD"])?.trim());
    commit::short(&git(&["log", "-1", "--format=%H %cs"])?)
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
