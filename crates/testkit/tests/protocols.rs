//! The tests that docs/PROTOCOLS.md names exist, so that the table cannot promise an unchecked
//! rule.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

const RULES: [&str; 14] = [
    "io_", "hs_", "fr_", "mk_", "fg_", "ut_", "ct_", "cl_", "lm_", "bp_", "pd_", "dt_", "ht_",
    "h2_",
];

fn append_sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            append_sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn each_test_that_a_rule_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut sources = String::new();
    append_sources(&root.join("crates"), &mut sources);
    let document = fs::read_to_string(root.join("docs/PROTOCOLS.md")).unwrap();
    // Between an odd backquote and the next stands code.
    let code = document.split('`').skip(1).step_by(2);
    let names: Vec<&str> =
        code.filter(|word| RULES.iter().any(|rule| word.starts_with(rule))).collect();
    assert!(names.len() > 100, "{} names were found", names.len());
    for name in names {
        assert!(sources.contains(&format!("fn {name}(")), "{name} is gone");
    }
}
