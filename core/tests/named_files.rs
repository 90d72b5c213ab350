//! Each source file that a document or a comment names exists. A name may leave out the folders before it.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files of the repository, without what is built, downloaded or hidden.
fn files() -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![root()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder can be read") {
            let entry = entry.expect("a folder can be read");
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || ["target", "corpus", "artifacts"].contains(&name.as_str()) {
                continue;
            }
            let is_folder = entry.file_type().expect("it has a type").is_dir();
            if is_folder { &mut folders } else { &mut files }.push(entry.path());
        }
    }
    files
}

fn with_extension<'a>(files: &'a [PathBuf], extension: &'a str) -> impl Iterator<Item = &'a PathBuf> {
    files.iter().filter(move |file| file.extension().is_some_and(|found| found == extension))
}

/// The source files that a text names.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "_-./".contains(c)));
    words.map(|word| word.trim_matches(['.', '/'])).filter(|word| word.ends_with(".rs"))
}

/// The text of a file with Rust code that is for readers.
fn comments(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.find("//").map(|at| &line[at..]))
}

/// The name, if no source file has it.
fn missing<'a>(sources: &[&PathBuf], name: &'a str) -> Option<&'a str> {
    (!sources.iter().any(|source| source.ends_with(name))).then_some(name)
}

#[test]
fn documents_and_comments_name_files_that_exist() {
    let files = files();
    let sources: Vec<_> = with_extension(&files, "rs").collect();
    let documents: Vec<_> = with_extension(&files, "md").collect();
    assert!(sources.len() > 100 && documents.len() > 10, "the repository has more files than that");
    let mut wrong = Vec::new();
    for file in sources.iter().chain(&documents) {
        let text = fs::read_to_string(file).expect("it is text");
        let texts: Vec<&str> =
            if file.extension().is_some_and(|e| e == "rs") { comments(&text).collect() } else { vec![&text] };
        let names = texts.into_iter().flat_map(named).filter_map(|name| missing(&sources, name));
        wrong.extend(names.map(|name| format!("{}: {name}", file.display())));
    }
    assert!(wrong.is_empty(), "these files do not exist: {wrong:#?}");
}

/// `docs/robustness.md` has rows that begin with a file and a function in it.
#[test]
fn the_table_of_lines_that_no_test_runs_names_functions_that_exist() {
    let text = fs::read_to_string(root().join("docs/robustness.md")).expect("it is there");
    let mut rows = 0;
    for row in text.lines().filter_map(|line| line.strip_prefix("| `")) {
        let Some((file, rest)) = row.split_once("`, `").filter(|(file, _)| file.ends_with(".rs")) else {
            continue;
        };
        let function = rest.split('`').next().and_then(|path| path.rsplit("::").next()).expect("there is a part");
        let source = fs::read_to_string(root().join("core/src").join(file));
        let source = source.unwrap_or_else(|error| panic!("core/src/{file}: {error}"));
        assert!(source.contains(&format!("fn {function}")), "{file} has no function {function}");
        rows += 1;
    }
    assert!(rows > 5, "the table has more rows than {rows}");
}
