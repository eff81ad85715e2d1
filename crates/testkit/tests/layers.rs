//! Import rules (docs/ARCHITECTURE.md): crates and their modules import downwards only.
//!
//! Prints the longest files too; run with `--nocapture` to see them.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each crate, and the crates of the workspace that its code may use.
const CRATES: [(&str, &[&str]); 13] = [
    ("proto", &[]),
    ("store", &["proto"]),
    ("net", &[]),
    ("trace", &["net", "proto"]),
    ("page", &[]),
    ("testkit", &[]),
    ("tls", &[]),
    ("server", &["net", "page", "proto", "store", "tls", "trace"]),
    ("client", &["net", "proto", "store", "tls", "trace"]),
    ("fuzz-laws", &["proto", "trace"]),
    ("console", &["client", "net", "proto", "store"]),
    ("bench", &["client", "console", "net", "page", "proto"]),
    ("cli", &["bench", "client", "console", "net", "proto", "server", "store", "tls", "trace"]),
];

/// The modules of each crate from the bottom to the top: a module may import those before it, so
/// there is no cycle. A module that is not listed fails the test: decide where it belongs.
const MODULES: [(&str, &str); 12] = [
    ("testkit", "harness"),
    ("fuzz-laws", "trace"),
    (
        "store",
        "disk names key state hashing digest_cache index root usage quota hidden beneath directory \
         shares changes target partial local memory sink store listing",
    ),
    (
        "proto",
        "about counted setting limits one_line peer visible proxy_protocol detect http1 http2 ws \
         transfer access form rooms live pipe preface resumable",
    ),
    (
        "net",
        "capture saved_syn signals blocking unix congestion keepalive linger pace prefixed queues \
         resolve address path shared tcp_info waiting copy dial listen reactor",
    ),
    (
        "trace",
        "segment event sample diagnosis redact kept recorder codec syn decode pcap tcp tap \
         explain render",
    ),
    ("tls", "fingerprint known_hosts machine stream untrusted certificate identity client server"),
    (
        "server",
        "address greeting link live permits health proxies shutdown tokens budget config share \
         unclassified traces events per_address access detect guard service datagram overview \
         shared tls session layers proxied opening reactors driving reload connection socket \
         accept",
    ),
    (
        "client",
        "aside target keys proxy error capture trace async_stream stream syn spent open_error \
         content connect measure attempts walk channel http send download chat cat shares probe",
    ),
    ("console", "values choices exit failure print"),
    (
        "bench",
        "child cpu flags stats bare environment peers websocket work echo idle rooms rows \
         peer_rows run report",
    ),
    (
        "cli",
        "commit setting access logging output template daemon flags layers tips listen trust \
         settings reload commands",
    ),
];

/// A file that grows beyond this is two rooms: split it, or say here why not.
const LONGEST: usize = 500;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn sources(name: &str) -> Vec<PathBuf> {
    let mut files = rust_files(&workspace().join("crates").join(name).join("src"));
    files.retain(|file| !file.ends_with("tests.rs"));
    files
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Product code: what stands before the tests of a file, without comments.
fn product(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let product = text.split("#[cfg(test)]").next().unwrap();
    let lines = product.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Words that follow `prefix` anywhere in `text`: `crate::` gives the modules that are used by
/// their path.
fn words_after<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(prefix).filter_map(move |(at, _)| {
        let rest = &text[at + prefix.len()..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        (end > 0).then(|| &rest[..end])
    })
}

/// A module's path inside its crate.
type ModulePath = Vec<String>;

/// The modules of a crate, each with the paths that its code names.
struct Modules(BTreeMap<ModulePath, Vec<ModulePath>>);

impl Modules {
    fn of(name: &str) -> Self {
        let source = workspace().join("crates").join(name).join("src");
        let module = |file: &PathBuf| {
            let path = file.strip_prefix(&source).unwrap().with_extension("");
            let mut path: ModulePath =
                path.iter().map(|word| word.to_str().unwrap().to_owned()).collect();
            path.pop_if(|last| ["mod", "lib", "main"].contains(&&**last));
            let uses = paths_in(&product(file), &path);
            (path, uses)
        };
        Self(sources(name).iter().map(module).collect())
    }

    fn parents(&self) -> BTreeSet<ModulePath> {
        self.0.keys().flat_map(|path| (0..path.len()).map(|end| path[..end].to_vec())).collect()
    }

    /// The children of a module, each with its siblings that it or a module below it imports.
    fn siblings(&self, parent: &[String]) -> BTreeMap<String, BTreeSet<String>> {
        let child = |path: &[String]| path.strip_prefix(parent)?.first().cloned();
        let mut siblings = BTreeMap::<_, BTreeSet<_>>::new();
        for (path, uses) in &self.0 {
            let Some(module) = child(path) else { continue };
            let known = |path: &ModulePath| self.0.keys().any(|other| other.starts_with(path));
            // A path may end with items, or name an item that the parent exports.
            let modules = uses.iter().filter_map(|used| {
                child(used).filter(|name| known(&[parent, std::slice::from_ref(name)].concat()))
            });
            let uses = modules.filter(|used| *used != module);
            siblings.entry(module.clone()).or_default().extend(uses);
        }
        siblings
    }
}

/// The paths from the root of the crate that the code of `module` names, `use` trees expanded.
fn paths_in(text: &str, module: &[String]) -> Vec<ModulePath> {
    let mut paths = Vec::new();
    for (keyword, up) in [("crate", module.len()), ("self", 0), ("super", 1)] {
        for (at, _) in text.match_indices(&format!("{keyword}::")) {
            let before = &text[..at];
            if before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let mut rest = &text[at + keyword.len() + 2..];
            let mut up = up;
            while let Some(further) = rest.strip_prefix("super::") {
                (rest, up) = (further, up + 1);
            }
            // The root has no parent: `super` of an inline module of tests.
            let base = &module[..module.len().saturating_sub(up)];
            expand(rest, base, &mut paths);
        }
    }
    paths
}

/// Adds the paths of the `use` tree at the start of `text`, and returns the text behind it.
fn expand<'a>(text: &'a str, base: &[String], paths: &mut Vec<ModulePath>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            if let Some(rest) = rest.strip_prefix('}') {
                return rest;
            }
            rest = expand(rest, base, paths);
            rest = rest.trim_start_matches(|c| c != ',' && c != '}');
            if rest.is_empty() {
                return rest;
            }
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let path = [base, &[word.to_owned()]].concat();
    match rest.strip_prefix("::") {
        Some(rest) if rest.starts_with(|c: char| c.is_alphabetic() || c == '{') => {
            expand(rest, &path, paths)
        }
        _ => {
            paths.push(path);
            rest
        }
    }
}

/// Command lines that a page or a message shows.
const COMMAND_LINES: [&str; 6] = [
    "/rooms/lobby --as YOU",
    "curl --data-binary",
    "ncat --ssl",
    "-k --pinnedpubkey",
    "--pin {} ",
    "--token-file TOKENFILE",
];

/// A program that embeds a library has its own names for settings: messages name a
/// `proto::setting::Setting`.
#[test]
fn libraries_name_no_flag() {
    let names_flag = |line: &&str| {
        line.match_indices("--").any(|(at, _)| {
            line[at + 2..].starts_with(|c: char| c.is_ascii_lowercase())
                && !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '-')
        })
    };
    for name in ["proto", "store", "net", "tls", "server", "client"] {
        for file in sources(name) {
            let product = product(&file);
            let mut lines = product.lines().filter(names_flag);
            let found = lines.find(|line| !COMMAND_LINES.iter().any(|shown| line.contains(shown)));
            assert_eq!(found, None, "{}", file.display());
        }
    }
}

#[test]
fn every_crate_is_listed() {
    for entry in fs::read_dir(workspace().join("crates")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(CRATES.iter().any(|(known, _)| *known == name), "{name} is not in CRATES");
    }
}

#[test]
fn crates_import_downwards_only() {
    for (name, allowed) in CRATES {
        for file in sources(name) {
            for used in words_after(&product(&file), "anyport_") {
                let known = CRATES.iter().any(|(other, _)| *other == used);
                let is_allowed = !known || used == name || allowed.contains(&used);
                assert!(is_allowed, "{} uses {used}", file.display());
            }
        }
    }
}

#[test]
fn manifests_name_no_forbidden_crate() {
    for (name, allowed) in CRATES {
        let manifest = workspace().join("crates").join(name).join("Cargo.toml");
        let text = fs::read_to_string(manifest).unwrap();
        let dependencies = text.split("[dependencies]").nth(1).unwrap_or_default();
        let dependencies = dependencies.split("\n[").next().unwrap();
        for used in words_after(dependencies, "anyport-") {
            assert!(allowed.contains(&used), "crate {name} must not depend on {used}");
        }
    }
}

#[test]
fn modules_import_downwards_only() {
    for (name, order) in MODULES {
        let modules = Modules::of(name);
        let order: Vec<_> = order.split_whitespace().collect();
        for (module, uses) in modules.siblings(&[]) {
            let place = order.iter().position(|other| *other == module);
            let place = place.unwrap_or_else(|| panic!("{name}: {module} is not in MODULES"));
            for used in uses {
                let is_below = order[..place].contains(&&*used);
                assert!(is_below, "{name}: {module} uses {used}, which MODULES has above it");
            }
        }
    }
}

#[test]
fn sibling_modules_have_no_import_cycle() {
    for (name, _) in MODULES {
        let modules = Modules::of(name);
        for parent in modules.parents() {
            let mut siblings = modules.siblings(&parent);
            // What imports no remaining sibling is in no cycle.
            while let Some(free) = siblings.iter().find(|(_, uses)| uses.is_empty()) {
                let free = free.0.clone();
                siblings.remove(&free);
                siblings.values_mut().for_each(|uses| uses.retain(|used| *used != free));
            }
            assert!(siblings.is_empty(), "{name}, in {parent:?}: {siblings:#?}");
        }
    }
}

/// Helpers that several test modules use are in the harness, so that each module can move.
#[test]
fn test_modules_import_no_other_test_module() {
    for file in rust_files(&workspace().join("crates/cli/tests")) {
        let text = product(&file);
        for prefix in ["crate::", "use super::"] {
            assert!(!text.contains(prefix), "{} has {prefix}", file.display());
        }
    }
}

#[test]
fn proto_uses_neither_sockets_nor_clocks_nor_tasks() {
    for file in sources("proto") {
        let text = product(&file);
        for word in ["std::fs", "std::net::Tcp", "std::time::Instant", "std::thread", "tokio::"] {
            assert!(!text.contains(word), "{} uses {word}", file.display());
        }
    }
}

#[test]
fn unsafe_code_is_in_net_only() {
    for (name, _) in CRATES {
        for file in sources(name) {
            let text = product(&file);
            let has =
                ["unsafe {", "unsafe fn", "unsafe impl"].iter().any(|word| text.contains(word));
            assert!(name == "net" || !has, "{} holds unsafe code", file.display());
        }
    }
}

#[test]
fn no_file_is_too_long() {
    let mut lengths: Vec<(usize, PathBuf)> = CRATES
        .iter()
        .flat_map(|(name, _)| sources(name))
        .map(|file| (product(&file).lines().count(), file))
        .collect();
    lengths.sort();
    for (lines, file) in lengths.iter().rev().take(10) {
        println!("{lines:5} {}", file.display());
    }
    let (lines, file) = lengths.last().unwrap();
    assert!(*lines <= LONGEST, "{} has {lines} lines of code", file.display());
}

/// BP-1: what a peer can fill has a bound, so no channel is without one.
#[test]
fn bp_1_no_channel_is_unbounded() {
    for (name, _) in CRATES {
        for file in sources(name) {
            let text = product(&file);
            for unbounded in ["unbounded", "mpsc::channel()", "mpsc::channel::<"] {
                assert!(!text.contains(unbounded), "{unbounded} in {}", file.display());
            }
        }
    }
}
