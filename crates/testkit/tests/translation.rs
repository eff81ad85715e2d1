//! README.ko.md follows README.md: the same headings, commands, output, code spans, table rows and
//! links.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

/// What a translation keeps of one section of a page.
#[derive(Debug, Default, PartialEq)]
struct Section {
    level: usize,
    /// Lines of code blocks without their comments.
    code: Vec<String>,
    /// Code spans and link targets, sorted, as another language may name them in another order.
    kept: Vec<String>,
    table_rows: usize,
}

/// The page in its sections; the first one stands before any heading.
fn sections(page: &str) -> Vec<Section> {
    let mut all = vec![Section::default()];
    let mut fence = None;
    for line in page.lines() {
        let section = all.last_mut().unwrap();
        if let Some(language) = line.strip_prefix("```") {
            fence = if fence.is_none() { Some(language.to_owned()) } else { None };
        } else if let Some(language) = &fence {
            section.code.push(code(line, language));
        } else if line.starts_with('#') {
            let level = line.chars().take_while(|&character| character == '#').count();
            all.push(Section { level, ..Section::default() });
        } else {
            section.table_rows += usize::from(line.starts_with('|'));
            section.kept.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
            let targets = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            // The pages link to each other.
            let targets = targets.map(|(target, _)| target.replace("README.ko.md", "README.md"));
            section.kept.extend(targets);
        }
    }
    for section in &mut all {
        section.kept.sort();
    }
    all
}

/// One line of a code block without what a translation translates in it.
fn code(line: &str, language: &str) -> String {
    let command = match language {
        "console" if line.starts_with("$ ") => line.split(" # ").next(),
        "text" if line.starts_with("scripts/") => line.split("  ").next(),
        _ => None,
    };
    command.unwrap_or(line).trim_end().to_owned()
}

#[test]
fn the_korean_readme_keeps_the_headings_commands_and_links_of_the_english_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let [english, korean] = ["README.md", "README.ko.md"].map(|name| sections(&read(name)));
    assert!(english.len() > 8 && english.iter().any(|section| !section.code.is_empty()));
    for (number, (english, korean)) in english.iter().zip(&korean).enumerate() {
        assert_eq!(
            english, korean,
            "section {number} of README.md (left) and README.ko.md (right)"
        );
    }
    assert_eq!(english.len(), korean.len(), "sections");
}
