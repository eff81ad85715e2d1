//! The pages for readers: every relative link leads to a file and a heading, docs/README.md leads
//! to every page, and comments name pages that exist.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn append_files(directory: &Path, extension: &str, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            append_files(&path, extension, all);
        } else if path.extension().is_some_and(|found| found == extension) {
            all.push(path);
        }
    }
}

fn pages() -> Vec<PathBuf> {
    let root = root();
    let mut all: Vec<PathBuf> =
        ["README.md", "README.ko.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"]
            .map(|name| root.join(name))
            .to_vec();
    for directory in ["docs", "conformance", "bench/records"] {
        append_files(&root.join(directory), "md", &mut all);
    }
    all
}

/// The lines of a page that are text, and not code.
fn text(page: &Path) -> Vec<String> {
    let mut is_code = false;
    let page = fs::read_to_string(page).unwrap();
    let is_text = |line: &&str| {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    };
    page.lines().filter(is_text).map(str::to_owned).collect()
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(page: &Path) -> BTreeSet<String> {
    let headings = text(page).into_iter().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).collect()
}

/// The targets of a page's links, without code spans, in which brackets are not links.
fn links(page: &Path) -> Vec<String> {
    let text = text(page).join("\n");
    let prose: String = text.split('`').step_by(2).collect();
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

fn is_relative(link: &str) -> bool {
    !link.contains("://") && !link.starts_with("mailto:")
}

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading() {
    let (mut broken, mut checked) = (Vec::new(), 0);
    for page in pages() {
        for link in links(&page).iter().filter(|link| is_relative(link)) {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            let leads =
                target.exists() && (heading.is_empty() || anchors(&target).contains(heading));
            checked += 1;
            if !leads {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(checked > 100, "{checked} links were found");
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_index_leads_to_every_page() {
    let docs = root().join("docs");
    let linked: BTreeSet<PathBuf> = links(&docs.join("README.md"))
        .iter()
        .filter(|link| is_relative(link))
        .filter_map(|link| docs.join(link.split('#').next().unwrap()).canonicalize().ok())
        .collect();
    let mut all = Vec::new();
    append_files(&docs, "md", &mut all);
    all.retain(|page| *page != docs.join("README.md") && !linked.contains(page));
    assert!(all.is_empty(), "docs/README.md links to none of {all:#?}");
}

#[test]
fn comments_name_pages_and_decisions_that_exist() {
    let root = root();
    let (mut sources, mut pages) = (Vec::new(), Vec::new());
    append_files(&root.join("crates"), "rs", &mut sources);
    append_files(&root.join("docs"), "md", &mut pages);
    let names: Vec<String> =
        pages.iter().map(|page| page.strip_prefix(&root).unwrap().display().to_string()).collect();
    let mut unknown = Vec::new();
    for source in sources {
        let text = fs::read_to_string(&source).unwrap();
        for (at, _) in text.match_indices("docs/") {
            let is_name = |c: char| c.is_alphanumeric() || "/-_.".contains(c);
            let name = text[at..].split(|c| !is_name(c)).next().unwrap().trim_end_matches('.');
            let is_decision =
                name.strip_prefix("docs/decisions/").is_some_and(|name| name.len() == 4);
            let is_page = name.ends_with(".md") || is_decision;
            let exists =
                names.iter().any(|page| page == name || (is_decision && page.starts_with(name)));
            if is_page && !exists && !text[..at].ends_with(['/', '"']) {
                unknown.push(format!("{}: {name}", source.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}
