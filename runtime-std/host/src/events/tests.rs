use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anabranch_core::policy::Refusal;
use anabranch_core::session::CloseReason;

use super::*;

fn names(kind: Kind) -> Vec<&'static str> {
    explanations().filter(|explanation| explanation.kind == kind).map(|explanation| explanation.name).collect()
}

#[test]
fn every_refusal_and_every_end_is_explained_and_nothing_else() {
    assert_eq!(names(Kind::Refusal), Refusal::CODES);
    let closes: Vec<_> = CloseReason::NAMES.into_iter().chain(["abandoned"]).collect();
    assert_eq!(names(Kind::Close), closes);
}

#[test]
fn names_can_be_looked_up_and_texts_be_read() {
    for kind in [Kind::Refusal, Kind::Close, Kind::Event] {
        let names = names(kind);
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "two {kind}s have the same name");
    }
    for Explanation { name, meaning, advice, .. } in explanations() {
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        for text in [meaning, advice] {
            assert!(text.ends_with('.') && text.starts_with(|c: char| !c.is_lowercase()), "{name}: {text}");
            assert!(!text.contains(['\n', '|']) && !text.contains("  "), "{name}: not one cell of a table: {text}");
        }
    }
}

/// `cargo run -p anabranch-host --example events > docs/events.md` generates it again.
#[test]
fn the_page_is_the_one_that_belongs_to_the_names() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/events.md");
    assert_eq!(fs::read_to_string(page).expect("the page is there"), document());
}

/// The files of the programs, without their tests.
fn sources() -> Vec<String> {
    let mut folders = vec![];
    for runtime in ["runtime-std", "runtime-smol"] {
        folders.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(runtime));
    }
    let mut texts = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of sources").map(|entry| entry.expect("an entry")) {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if path.is_dir() {
                if !["tests", "examples", "target"].contains(&&*name) {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") && name != "tests.rs" {
                let text = fs::read_to_string(path).expect("it is text");
                texts.push(without_tests(&text).to_owned());
            }
        }
    }
    texts
}

/// The text of a file up to its module of tests, if it has one itself and not in another file.
fn without_tests(text: &str) -> &str {
    const TESTS: &str = "#[cfg(test)]\n";
    let mut modules = text.match_indices(TESTS).map(|(at, _)| at);
    let own = modules.find(|at| {
        text[at + TESTS.len()..].lines().next().is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
    });
    own.map_or(text, |at| &text[..at])
}

/// What each call of a macro of the log has between its parentheses.
fn lines_of(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    for (start, _) in text.match_indices("!(") {
        let name = text[..start].rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '$').next().unwrap_or_default();
        if !["error", "warn", "info", "debug", "trace", "$level"].contains(&name) {
            continue;
        }
        let (mut depth, mut end, mut in_string, mut escaped) = (1, 0, false, false);
        for (at, c) in text[start + 2..].char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => in_string = !in_string,
                '(' if !in_string => depth += 1,
                ')' if !in_string => depth -= 1,
                _ => {}
            }
            end = at;
            if depth == 0 {
                break;
            }
        }
        lines.push(&text[start + 2..start + 2 + end]);
    }
    lines
}

/// The names that a piece of code gives as `event`.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split("event = \"").skip(1).filter_map(|rest| rest.split('"').next())
}

#[test]
fn every_line_of_the_log_has_a_name_that_is_explained_and_every_name_is_used() {
    let sources = sources();
    assert!(sources.len() > 50, "{}", sources.len());
    let mut lines = 0;
    for line in sources.iter().flat_map(|text| lines_of(text)) {
        lines += 1;
        assert!(line.contains("event = "), "a line of the log without a name (event = \"...\"): {line}");
    }
    assert!(lines > 50, "{lines}");
    let used: BTreeSet<&str> = sources.iter().flat_map(|text| named(text)).collect();
    let explained: BTreeSet<&str> = names(Kind::Event).into_iter().collect();
    let unexplained: Vec<_> = used.difference(&explained).collect();
    assert!(unexplained.is_empty(), "add these names to runtime-std/host/src/events/log.rs: {unexplained:?}");
    let unused: Vec<_> = explained.difference(&used).collect();
    assert!(unused.is_empty(), "no line of the log has these names: {unused:?}");
}
