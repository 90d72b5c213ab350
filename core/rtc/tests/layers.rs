//! Which module knows what: str0m stays inside one module, so that the rest can be run without it, and can outlive it.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("there are sources") {
        let path = entry.expect("it can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Tests have clients by str0m.
        if path.is_dir() && name != "tests" {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") && name != "tests.rs" {
            found.push(path);
        }
    }
}

/// The lines of a source that are no comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("it can be read");
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn only_the_engine_knows_str0m() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    let (engine, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|path| path.starts_with(root.join("engine")));
    assert!(engine.iter().any(|path| code(path).contains("str0m::")), "the engine is by str0m");
    assert!(others.len() > 5, "{others:?}");
    for path in others {
        assert!(!code(&path).contains("str0m"), "{} knows str0m", path.display());
    }
}
