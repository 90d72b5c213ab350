//! The modules of core form layers: a module uses only modules of lower layers and of the same layer. ARCHITECTURE.md
//! and this test each have a table of the layers; the test compares both tables with the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// From bottom to top. Modules of one layer may use one another.
const LAYERS: &[&[&str]] = &[
    &["shown", "split_mix"],
    &["amf", "flv", "handshake", "http", "chunk", "message", "command", "url", "preface", "bandwidth"],
    &["fmp4", "mpegts"],
    &["hls"],
    &["time_limit", "pool"],
    &["policy"],
    &["location"],
    &["cluster"],
    &["source", "stats"],
    &["pacing"],
    &["endpoint"],
    &["session", "client"],
    &["hub"],
    &["packager"],
    &["fast_path"],
    &["capture"],
    &["relay"],
    &["conn"],
    &["replay"],
];

/// Pairs of modules that use each other: messages have room for a chunk header and are read from chunks; a source keeps
/// the statistics of its frames.
const PAIRS: &[[&str; 2]] = &[["chunk", "message"], ["source", "stats"]];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The source files of each module, without those of tests.
fn modules() -> BTreeMap<String, Vec<PathBuf>> {
    let mut modules = BTreeMap::<String, Vec<PathBuf>>::new();
    for entry in fs::read_dir(root()).expect("core has sources") {
        let path = entry.expect("it can be read").path();
        let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
        if name != "lib" {
            collect(&path, modules.entry(name).or_default());
        }
    }
    modules
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    let name = path.file_name().expect("it has a name").to_string_lossy();
    if path.is_dir() && name != "tests" {
        for entry in fs::read_dir(path).expect("it can be read") {
            collect(&entry.expect("it can be read").path(), files);
        }
    } else if path.is_file() && !name.ends_with("tests.rs") {
        files.push(path.to_owned());
    }
}

/// The modules that a file names outside its tests and comments.
fn uses(file: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(file).expect("it is text");
    let code = text.split("#[cfg(test)]\nmod ").next().expect("there is a first part");
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let named = lines.flat_map(|line| line.split("crate::").skip(1));
    named.map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()).collect()
}

/// The other modules that each module uses, each with a file that uses it.
fn graph() -> BTreeMap<String, BTreeMap<String, PathBuf>> {
    let used = |files: Vec<PathBuf>, module: &str| {
        let named = files.into_iter().flat_map(|file| uses(&file).into_iter().map(move |used| (used, file.clone())));
        named.filter(|(used, _)| used != module).collect()
    };
    modules().into_iter().map(|(module, files)| (module.clone(), used(files, &module))).collect()
}

fn layer(module: &str) -> usize {
    let found = LAYERS.iter().position(|layer| layer.contains(&module));
    found.unwrap_or_else(|| panic!("{module} is in no layer: add it to a layer here and in ARCHITECTURE.md"))
}

#[test]
fn no_module_uses_what_stands_above_it() {
    for (module, uses) in graph() {
        for (used, file) in uses {
            assert!(layer(&used) <= layer(&module), "{} uses {used}, a layer above {module}", file.display());
        }
    }
}

#[test]
fn modules_form_no_circle_but_for_known_pairs() {
    let graph = graph();
    let are_pair = |a: &str, b: &str| PAIRS.iter().any(|pair| pair.contains(&a) && pair.contains(&b));
    // Repeatedly removes modules that use no remaining module. A cycle remains.
    let mut left: BTreeSet<&str> = graph.keys().map(String::as_str).collect();
    loop {
        let is_free =
            |module: &&&str| !graph[**module].keys().any(|used| left.contains(&**used) && !are_pair(module, used));
        let Some(free) = left.iter().find(is_free).copied() else {
            break;
        };
        left.remove(free);
    }
    assert!(left.is_empty(), "there is a cycle among {left:?}");
    for [a, b] in PAIRS {
        assert!(graph[*a].contains_key(*b) && graph[*b].contains_key(*a), "{a} and {b} no longer use each other");
    }
}

#[test]
fn the_table_of_the_architecture_has_the_same_layers() {
    let text = fs::read_to_string(root().join("../../ARCHITECTURE.md")).expect("it is there");
    let section = text.split("## Layers in core, bottom up").nth(1).and_then(|rest| rest.split("\n## ").next());
    let rows = section.expect("it has the chapter").lines().filter(|line| line.starts_with("| `"));
    let names = |row: &str| -> Vec<String> {
        let cell = row.split('|').nth(1).expect("a row has cells");
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let table: Vec<Vec<String>> = rows.map(names).collect();
    assert_eq!(table, LAYERS);
    let all: BTreeSet<&str> = LAYERS.concat().into_iter().collect();
    assert!(
        modules().keys().map(String::as_str).eq(all),
        "each module is in exactly one layer, and every listed module exists"
    );
}
