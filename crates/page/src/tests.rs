//! Tests of the assets as a whole: what they are, what they may contain, and how large they are.

use std::io::Read;

use flate2::read::GzDecoder;

use super::*;

/// Bytes that a first visit may transfer (60 KB).
const BUDGET: usize = 60_000;

#[test]
fn the_assets_are_the_files_of_the_directory_each_with_a_type() {
    let web = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
    let names = std::fs::read_dir(web).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| !name.ends_with(".d.ts"));
    names.sort();
    let assets: Vec<&str> = ASSETS.iter().map(|asset| asset.name).collect();
    assert_eq!(assets, names);
    for asset in ASSETS.iter() {
        assert_ne!(asset.media, UNKNOWN, "{}: add its type to media()", asset.name);
        assert!(std::ptr::eq(find(asset.name).unwrap(), asset));
        assert_eq!(asset.name, asset.name.to_ascii_lowercase().replace(' ', "-"));
    }
    for name in ["app.js", "page.css"] {
        assert!(find(name).is_some(), "pages link {name}");
    }
    assert!(find("../Cargo.toml").is_none());
}

#[test]
fn the_version_is_16_hexadecimal_digits() {
    assert!(VERSION.len() == 16 && VERSION.bytes().all(|byte| byte.is_ascii_hexdigit()));
}

#[test]
fn all_assets_together_are_at_most_60_kb_compressed() {
    let sizes: Vec<_> = ASSETS.iter().map(|asset| (asset.gzip.len(), asset.name)).collect();
    for asset in ASSETS.iter() {
        let mut content = Vec::new();
        GzDecoder::new(asset.gzip).read_to_end(&mut content).unwrap();
        assert_eq!(content, asset.content, "{}", asset.name);
    }
    let sum: usize = sizes.iter().map(|(size, _)| size).sum();
    println!("{sum} bytes: {sizes:?}");
    assert!(sum <= BUDGET, "{sum} bytes: {sizes:?}");
}

#[test]
fn other_pages_share_the_colours_and_fonts_of_the_style_sheet() {
    let base = base_style();
    for part in
        ["--page:", "--text:", "--muted:", "--line:", "--danger:", "prefers-color-scheme", "body{"]
    {
        assert!(base.contains(part), "{part} in {base}");
    }
    assert!(base.len() < 2500 && !base.contains("form"), "{base}");
}

/// Indentation is removed, so a literal that spans lines would change.
#[test]
fn lines_of_scripts_are_short_and_their_literals_end_on_their_line() {
    for (name, text) in sources() {
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{name} has a line beyond 100 columns: {line}");
        }
        // A literal of several lines has one in its first and one in its last.
        let is_code = |line: &&str| !line.trim_start().starts_with(['/', '*']);
        let is_odd = |line: &&str| line.matches('`').count() % 2 == 1;
        let odd: Vec<&str> = text.lines().filter(is_code).filter(is_odd).collect();
        assert!(odd.len() < 2, "{name} has a literal of several lines: {odd:#?}");
    }
}

/// Returns the scripts and the style sheet as they were written.
fn sources() -> Vec<(&'static str, String)> {
    let web = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
    let is_text = |name: &&str| name.ends_with(".js") || name.ends_with(".css");
    let names = ASSETS.iter().map(|asset| asset.name).filter(is_text);
    names.map(|name| (name, std::fs::read_to_string(web.join(name)).unwrap())).collect()
}

/// The Content-Security-Policy forbids most of these too; here the author sees it at once.
#[test]
fn scripts_build_no_markup_run_no_text_and_load_nothing_from_other_hosts() {
    for asset in ASSETS.iter().filter(|asset| asset.name.ends_with(".js")) {
        let text = std::str::from_utf8(asset.content).unwrap();
        for word in FORBIDDEN {
            assert!(!text.contains(word), "{} contains {word}", asset.name);
        }
        // Names of XML namespaces are never loaded.
        let text = text.replace("http://www.w3.org/", "");
        for scheme in ["http://", "https://", "'//", "\"//", "`//"] {
            for (at, _) in text.match_indices(scheme) {
                let host = text[at + scheme.len()..].chars().next().unwrap_or(' ');
                // A scheme before a variable, and a scheme alone, name no host.
                let is_none = !host.is_ascii_alphanumeric();
                assert!(
                    is_none,
                    "{} names a host: {}",
                    asset.name,
                    &text[at..].lines().next().unwrap()
                );
            }
        }
    }
    assert!(!STYLE.contains("url(") && !STYLE.contains("@import"), "the style sheet loads a file");
}

const FORBIDDEN: [&str; 12] = [
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "createContextualFragment",
    "DOMParser",
    "document.write",
    "eval(",
    "new Function",
    "setAttribute('style'",
    "srcdoc",
    "serviceWorker",
    "javascript:",
];
