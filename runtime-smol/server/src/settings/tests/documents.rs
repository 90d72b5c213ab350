//! The schema, and the example file that is generated from it.

use serde_json::Value as Json;

use super::*;
use crate::settings::load::default_tree;

/// `anabranch schema --example > runtime-smol/server/anabranch.toml` generates it again.
#[test]
fn the_example_file_is_the_one_that_belongs_to_the_settings() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("anabranch.toml");
    assert_eq!(std::fs::read_to_string(file).unwrap(), example());
}

#[test]
fn the_example_has_every_key_and_says_the_defaults() {
    let example = example();
    let is_key =
        |line: &str| line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
    let uncommented: Vec<_> = example.lines().map(|line| if is_key(line) { &line[1..] } else { line }).collect();
    for text in [&*example, &uncommented.join("\n")] {
        assert_eq!(read(text).tree.value(), default_tree().value());
    }
    let schema = Schema::inlined();
    let mut leaves = Vec::new();
    collect(schema.root(), &Path::default(), &mut leaves);
    // A key without a default is shown without one.
    let shows = |key: &str| {
        example
            .lines()
            .any(|line| line.strip_prefix('#').is_some_and(|line| line.trim_start().starts_with(&format!("{key} = "))))
    };
    let lists_of_tables = [
        &["vhost"][..],
        &["defaults", "application"],
        &["defaults", "run"],
        &["defaults", "forward"],
        &["tls", "certificates"],
    ];
    let lists_of_tables = lists_of_tables.map(Path::of);
    for path in leaves.iter().filter(|path| !lists_of_tables.contains(path)) {
        let Some(Step::Key(key)) = path.0.last() else { panic!("{path} is no key") };
        assert!(shows(key), "{path} is not in it");
    }
    let bare = |entry: schema::Entry<'_>| entry.description().is_none();
    let undescribed: Vec<_> =
        leaves.iter().filter(|path| schema.at(path).is_none_or(bare)).map(Path::to_string).collect();
    assert!(undescribed.is_empty(), "without a description: {undescribed:?}");
    assert!(example.lines().all(|line| line.len() <= 120));
}

#[test]
fn the_schema_takes_what_the_program_takes() {
    let validator = jsonschema::validator_for(&Schema::document()).unwrap();
    let json = |text: &str| -> Json { serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap() };
    let defaults = serde_json::to_value(default_tree().value()).unwrap();
    assert!(
        validator.is_valid(&defaults),
        "{:?}",
        validator.iter_errors(&defaults).map(|e| e.to_string()).collect::<Vec<_>>()
    );
    for (text, valid) in [
        ("[defaults.play]\nmax_gap = \"7s\"", true),
        ("[defaults.play]\nmax_gap = \"7\"", false),
        ("[defaults.limits]\nplayers = 7", true),
        ("[defaults.limits]\nplayers = -7", false),
        ("[defaults.session]\nchunk_size = 127", false),
        ("[[vhost]]\nname = \"a\"\nplay.start = \"next_key_frame\"\nlimits.players = \"unlimited\"", true),
        ("[[vhost]]\nname = \"a\"\nplay.strat = \"next_key_frame\"", false),
        ("[[vhost]]\nplay.start = \"next_key_frame\"", false),
        ("[[defaults.application]]\nstreams = [\"live/*\"]\nlimits.players = 7", true),
        ("[[vhost]]\nname = \"a\"\n[[vhost.application]]\nstreams = [\"live/*\"]\nrecord.streams = [\"*\"]", true),
        ("[[defaults.application]]\nstreams = [\"live/*\"]\nlimits.connections = 7", false),
        ("[[defaults.application]]\nstreams = [\"live/*\"]\nsession.chunk_size = 4096", false),
        ("[[defaults.application]]\nlimits.players = 7", false),
        ("[defaults.hooks]\non_play = [\"http://h/\", { url = \"http://h/\", form = \"nginx-rtmp\" }]", true),
        ("[defaults.hooks]\non_play = [{ url = \"http://h/\", form = \"nginx\" }]", false),
        ("wat = 1", false),
    ] {
        assert_eq!(validator.is_valid(&json(text)), valid, "{text}");
        assert_eq!(Sources::default().load_text("", text).is_ok(), valid, "{text}");
    }
}

/// Keys that the pages for users of other servers name.
#[test]
fn the_keys_that_documents_name_are_there() {
    let schema = Schema::inlined();
    let is_key = |key: &str| {
        let path = |first: &[&str]| {
            let steps = first.iter().copied().chain(key.split('.'));
            Path(steps.map(|step| Step::Key(step.to_owned())).collect())
        };
        let item = Path(vec![Step::Key("vhost".to_owned()), Step::Index(0)]);
        let of_vhost = key.strip_prefix("vhost.").map(|key| item.key(key));
        let paths = [Some(path(&[])), Some(path(&["defaults"])), of_vhost];
        paths.into_iter().flatten().any(|path| schema.at(&path).is_some())
    };
    let pages = [
        include_str!("../../../../../docs/coming-from-srs.md"),
        include_str!("../../../../../docs/coming-from-nginx-rtmp.md"),
    ];
    for page in pages {
        let mut found = 0;
        // The second column has this program's keys.
        for column in page.lines().filter_map(|line| line.strip_prefix('|')?.split('|').nth(1)) {
            for word in column.split('`').skip(1).step_by(2) {
                let key = word.split(" = ").next().unwrap_or(word);
                let looks_like_one =
                    key.contains('.') && key.chars().all(|c| c.is_ascii_lowercase() || "._".contains(c));
                if looks_like_one {
                    found += 1;
                    assert!(is_key(key), "there is no {key}");
                }
            }
        }
        assert!(found > 15, "only {found} keys were found");
    }
}
