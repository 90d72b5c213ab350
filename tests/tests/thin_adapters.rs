//! The adapters hold sockets, timers, threads and wake-ups, and no word of the protocol: one that says "publish" or "key
//! frame" does something that belongs into core.

use std::fs;
use std::path::{Path, PathBuf};

/// Beginnings of words that an adapter has no use for, in lower case.
const WORDS: [&str; 28] = [
    "publish",
    "play",
    "rtmp",
    "handshake",
    "digest",
    "amf",
    "metadata",
    "codec",
    "video",
    "audio",
    "keyframe",
    "key_frame",
    "key frame",
    "gop",
    "sequence",
    "onstatus",
    "netstream",
    "netconnection",
    "createstream",
    "tcurl",
    "vhost",
    "flv",
    "fourcc",
    "multitrack",
    "aggregate",
    "acknowledge",
    "token",
    "chunk",
];
/// `bytes::Buf` calls the pieces of a queue so, and mio what it tells an event's socket by.
const ALLOWED: [&str; 6] =
    ["chunks_vectored", "poll, token", "thread_waker: token", "= token(", ".token()", ", token(slot)"];
/// Lines that the loop of one connection may have: socket, timers and wake-ups, comments included.
const CONNECTION_LINES: usize = 400;

/// The files of an adapter, without the first page of its documentation, which speaks to users of the whole server.
fn sources(adapter: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(adapter);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    // Tests of a part lie in a folder of its name.
    files.retain(|file| file.is_file() && !file.ends_with("lib.rs") && !file.ends_with("main.rs"));
    files.sort();
    files
}

/// Words of the protocol in a line, comments included: what a comment has to explain, the code does.
fn words_in(line: &str) -> Vec<&'static str> {
    let mut line = line.to_lowercase();
    for allowed in ALLOWED {
        line = line.replace(allowed, "");
    }
    let starts_a_word = |at: usize| !line[..at].ends_with(|before: char| before.is_alphanumeric());
    let found = WORDS.iter().filter(|word| line.match_indices(**word).any(|(at, _)| starts_a_word(at)));
    found.copied().collect()
}

#[test]
fn adapters_know_no_word_of_the_protocol() {
    let mut found = Vec::new();
    for file in ["runtime-smol/src", "runtime-std/src", "core/examples/polling"].into_iter().flat_map(sources) {
        let text = fs::read_to_string(&file).expect("a text");
        for (number, line) in text.lines().enumerate() {
            let words = words_in(line);
            if !words.is_empty() {
                found.push(format!("{}:{}: {words:?} in {line:?}", file.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_search_finds_words_where_they_are() {
    assert_eq!(words_in("if attachment.role == Role::Player {"), ["play"]);
    assert_eq!(words_in("    // wait for the next key frame"), ["key frame"]);
    assert_eq!(words_in("let publisher_rtmp = 1;"), ["publish", "rtmp"]);
    assert!(words_in("let count = outbound.chunks_vectored(&mut slices); display(replay)").is_empty());
}

#[test]
fn the_table_of_lines_is_near_the_truth() {
    let page = include_str!("../../ARCHITECTURE.md");
    for adapter in ["runtime-smol/src", "runtime-std/src"] {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{adapter}`"))).expect("a row for each");
        let told: Vec<usize> = row.split('|').filter_map(|cell| cell.trim().parse().ok()).collect();
        let lines = |name: &str| {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(adapter).join(name);
            fs::read_to_string(file).expect("a text").lines().count()
        };
        let parts = ["connection.rs", "fanout.rs", "accept.rs", "server.rs"].map(lines);
        let folder = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(adapter)).expect("a folder");
        let names = folder.map(|file| file.expect("a file").file_name().into_string().expect("a plain name"));
        let all = names.filter(|name| name.ends_with(".rs")).map(|name| lines(&name)).sum::<usize>();
        assert_eq!(told.len(), 5, "{row}");
        for (told, lines) in told.into_iter().zip(parts.into_iter().chain([all])) {
            assert!(told.abs_diff(lines) <= 10 + lines / 20, "{adapter}: {told} told, {lines} there are");
        }
    }
}

#[test]
fn the_loop_of_a_connection_is_short() {
    for adapter in ["runtime-smol/src", "runtime-std/src"] {
        let files = sources(adapter);
        let lines = |file: &PathBuf| fs::read_to_string(file).expect("a text").lines().count();
        for file in &files {
            println!("{:5} {}", lines(file), file.display());
        }
        let connection = files.iter().find(|file| file.ends_with("connection.rs")).expect("each has one");
        assert!(lines(connection) <= CONNECTION_LINES, "{}", connection.display());
    }
}
