//! SECURITY.md: each limit of the first table has its row in the second one, and the tests that are
//! named there exist.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::Path;

fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The cells of the table below a heading, without its own head.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, section) = page.split_once(heading).unwrap_or_else(|| panic!("no {heading:?}"));
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells = |line: &str| {
        line.split(" | ").map(|cell| cell.trim_matches(['|', ' ']).to_owned()).collect()
    };
    rows.map(cells).collect()
}

/// What stands between backticks and looks like the name of a test.
fn named_tests(cell: &str) -> Vec<&str> {
    let is_name = |text: &&str| {
        text.contains('_') && !text.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_')
    };
    cell.split('`').skip(1).step_by(2).filter(is_name).collect()
}

fn sources(directory: &Path, all: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_limit_has_a_test_that_exists() {
    let page = std::fs::read_to_string(workspace().join("SECURITY.md")).unwrap();
    let limits = table(&page, "\n## Limits\n");
    let tests = table(&page, "\n## The test of each limit\n");
    assert!(limits.len() > 90 && tests.len() > 30, "the tables cannot be read");
    let tested: BTreeSet<&str> = tests.iter().map(|row| row[0].as_str()).collect();
    // A row of the second table may leave out what follows the name of a limit.
    let is_tested = |limit: &str| {
        let rest = |name: &str| limit.strip_prefix(name).map(str::to_owned);
        let mut rests = tested.iter().filter_map(|name| rest(name));
        rests.any(|rest| {
            rest.is_empty() || rest.starts_with([',', ';', ':']) || rest.starts_with(" (")
        })
    };
    let untested: Vec<&str> =
        limits.iter().map(|row| row[0].as_str()).filter(|limit| !is_tested(limit)).collect();
    assert!(untested.is_empty(), "limits without a row in the second table: {untested:#?}");
    let mut twice: Vec<&str> = limits.iter().map(|row| row[0].as_str()).collect();
    twice.sort_unstable();
    twice = twice.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    assert!(twice.is_empty(), "limits with two rows: {twice:#?}");
    let mut all = String::new();
    sources(&workspace().join("crates"), &mut all);
    let mut wrong = Vec::new();
    for row in &tests {
        let names = named_tests(row.get(1).map_or("", String::as_str));
        if names.is_empty() {
            wrong.push(format!("{}: no test is named", row[0]));
        }
        let missing = names.iter().filter(|name| !all.contains(&format!("fn {name}(")));
        wrong.extend(missing.map(|name| format!("{}: no test {name}", row[0])));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
