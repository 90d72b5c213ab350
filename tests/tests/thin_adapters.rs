//! The adapters hold sockets, timers, threads and wake-ups, and no word of the protocol: one that says "publish" or
//! "key frame" does something that belongs into core.

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
/// Lines of code that the loop of one connection may have: socket, timers, wake-ups, and a log line for each deadline.
const CONNECTION_LINES: usize = 345;

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

/// Words of the protocol in a line of code. Comments may say what an adapter is used for, and are left out before.
fn words_in(line: &str) -> Vec<&'static str> {
    let mut line = line.to_lowercase();
    for allowed in ALLOWED {
        line = line.replace(allowed, "");
    }
    let starts_a_word = |at: usize| !line[..at].ends_with(|before: char| before.is_alphanumeric());
    let found = WORDS.iter().filter(|word| line.match_indices(**word).any(|(at, _)| starts_a_word(at)));
    found.copied().collect()
}

/// The text without its comments; lines stay where they are.
fn code_of(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = |found: Option<usize>| found.unwrap_or(rest.len());
        let (length, is_code) = if rest.starts_with("//") {
            (end(rest.find('\n')), false)
        } else if rest.starts_with("/*") {
            (end(rest.find("*/").map(|at| at + 2)), false)
        } else if first == '"' || rest.starts_with("b\"") {
            (string_length(rest), true)
        } else if let Some(length) = character_length(rest) {
            (length, true)
        } else {
            (first.len_utf8(), true)
        };
        let (piece, after) = rest.split_at(length);
        if is_code {
            code.push_str(piece);
        } else {
            code.extend(piece.chars().filter(|character| *character == '\n'));
        }
        rest = after;
    }
    code
}

/// The length of the string that a text begins with, quotes included.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    let start = text.find('"').map_or(0, |at| at + 1);
    for (at, character) in text[start..].char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return start + at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of the character that a text begins with, quotes included; none for a lifetime.
fn character_length(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    let first = inside.chars().next()?;
    let after = if first == '\\' { 2 } else { first.len_utf8() };
    let end = inside.get(after..)?.find('\'')?;
    (end == 0 || first == '\\').then_some(1 + after + end + 1)
}

#[test]
fn adapters_know_no_word_of_the_protocol() {
    let (mut found, mut files) = (Vec::new(), 0);
    for file in ["runtime-smol/src", "runtime-std/src", "core/examples/polling"].into_iter().flat_map(sources) {
        let text = code_of(&fs::read_to_string(&file).expect("a text"));
        files += 1;
        for (number, line) in text.lines().enumerate() {
            let words = words_in(line);
            if !words.is_empty() {
                found.push(format!("{}:{}: {words:?} in {line:?}", file.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(files > 10, "{files} files were looked at");
}

#[test]
fn the_search_finds_words_where_they_are() {
    assert_eq!(words_in("if attachment.role == Role::Player {"), ["play"]);
    assert_eq!(words_in("let publisher_rtmp = 1;"), ["publish", "rtmp"]);
    assert!(words_in("let count = outbound.chunks_vectored(&mut slices); display(replay)").is_empty());
}

#[test]
fn comments_are_left_out_and_nothing_else() {
    for (text, code) in [
        ("wake(); // the player\nnext", "wake(); \nnext"),
        ("/// A publisher.\nfn a() {}", "\nfn a() {}"),
        ("a /* key\nframe */ b", "a \n b"),
        ("\"// publish\" // play", "\"// publish\" "),
        ("b\"\\\"// amf\"", "b\"\\\"// amf\""),
        ("'\"' // audio", "'\"' "),
        ("'\\'' // audio", "'\\'' "),
        ("fn f<'a>(a: &'a str) // 'video'", "fn f<'a>(a: &'a str) "),
    ] {
        assert_eq!(code_of(text), code);
    }
}

#[test]
fn the_loop_of_a_connection_is_short() {
    for adapter in ["runtime-smol/src", "runtime-std/src"] {
        let files = sources(adapter);
        let lines = |file: &PathBuf| {
            let code = code_of(&fs::read_to_string(file).expect("a text"));
            code.lines().filter(|line| !line.trim().is_empty()).count()
        };
        for file in &files {
            println!("{:5} {}", lines(file), file.display());
        }
        let connection = files.iter().find(|file| file.ends_with("connection.rs")).expect("each has one");
        assert!(lines(connection) <= CONNECTION_LINES, "{}", connection.display());
    }
}
