//! The log of an evening on which much goes wrong, as text and as JSON, against the files `evening.log` and
//! `evening.json`. A test shows what an operator reads of it: `docs/operating.md` has a table of questions and of the
//! lines that answer them.
//!
//! `ANABRANCH_WRITE_GOLDEN=1 cargo test -p anabranch --test program evening` writes the files again.

mod addresses;
mod normal;
mod script;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::{env, fs};

use anabranch_host::events::{Kind, explanations};
use serde_json::Value;

use script::Step;

/// Events that the evening does not have: bugs, failures of the system, events at debug level, those of the program
/// around the server, and those that come only after a minute.
const NOT_THAT_EVENING: &[&str] = &[
    "accept_failed",
    "advice",
    "api_connection",
    "api_off",
    "bug",
    "capture_begun",
    "capture_ended",
    "capture_failed",
    "capture_file",
    "capture_file_ended",
    "capture_incomplete",
    "capture_left_out",
    "capture_limit",
    "certificates_changed",
    "certificates_refused",
    "clock_apart",
    "deadline",
    "detached",
    "hook_called",
    "keyless",
    "lines_dropped",
    "lines_left_out",
    "lines_reduced",
    "memory_given",
    "no_sound",
    "not_listening",
    "not_segmented",
    "not_served",
    "notices_lost",
    "program_plays",
    "program_publishes",
    "recording_failed",
    "recording_file_left",
    "recording_left_out",
    "recording_missed",
    "recording_waits",
    "recordings_cut",
    "renamed",
    "service_manager",
    "turned_away",
    "unidentified",
    "waits_again",
];

/// How the names of events begin that come of other servers, of a directory, of programs for streams, of a second encoder,
/// of what plays without any, or of WebRTC.
const OF_OTHER_PARTS: &[&str] = &[
    "advertise_",
    "backup_",
    "beyond_",
    "cluster",
    "directory_",
    "fallback_",
    "forward_",
    "name_",
    "no_sound",
    "no_webrtc",
    "node_",
    "notices_lost_connection",
    "relay_",
    "run_",
    "secret_changed",
    "segments_",
    "sound_behind",
    "uplink_",
    "webrtc_",
];

/// Refusals that need another server, a program that this one has started, or the script of a page.
const OF_OTHER_SERVERS: [&str; 10] = [
    "page_denied",
    "pass_invalid",
    "origin_denied",
    "name_elsewhere",
    "no_directory",
    "not_owner",
    "pull_not_signed",
    "pull_repeated",
    "pull_referred",
    "loop",
];

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/program/evening", name].iter().collect()
}

/// The steps with their lines, as in the files.
fn page(steps: &[Step]) -> String {
    steps.iter().map(|step| format!("# {}\n{}\n\n", step.name, step.lines.join("\n"))).collect()
}

fn assert_golden(name: &str, steps: &[Step]) {
    let found = page(steps);
    if env::var_os("ANABRANCH_WRITE_GOLDEN").is_some() {
        fs::write(path(name), &found).expect("the file can be written");
    }
    let golden = fs::read_to_string(path(name)).expect("the file is there");
    if let Some((line, _)) = golden.lines().zip(found.lines()).enumerate().find(|(_, (a, b))| a != b) {
        let of = |text: &str| text.lines().nth(line).unwrap_or_default().to_owned();
        panic!("line {} of {name}:\n  golden: {}\n  now:    {}", line + 1, of(&golden), of(&found));
    }
    assert_eq!(golden, found, "{name} has another length");
}

#[test]
fn the_log_says_what_happened() {
    assert_golden("evening.log", &script::evening("text"));
}

#[test]
fn the_log_in_json_has_all_of_it_as_fields() {
    let steps = script::evening("json");
    assert_golden("evening.json", &steps);
    let lines = || steps.iter().flat_map(|step| &step.lines);
    let lines: Vec<Value> = lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let named = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let codes: BTreeSet<_> = lines
        .iter()
        .filter(|line| named(line, "event") == "refused")
        .collect::<Vec<_>>()
        .iter()
        .map(|line| named(line, "code"))
        .collect();
    let known = |kind| explanations().filter(move |explanation| explanation.kind == kind).map(|known| known.name);
    let missing: Vec<_> = known(Kind::Refusal).filter(|code| !codes.contains(*code)).collect();
    assert_eq!(missing, OF_OTHER_SERVERS);
    let events: BTreeSet<_> = lines.iter().map(|line| named(line, "event")).collect();
    let missing: Vec<_> = known(Kind::Event).filter(|event| !events.contains(*event)).collect();
    let of_others = |event: &str| OF_OTHER_PARTS.iter().any(|part| event.starts_with(part));
    let unexpected: Vec<_> =
        missing.iter().filter(|event| !NOT_THAT_EVENING.contains(event) && !of_others(event)).collect();
    assert!(unexpected.is_empty(), "the evening has no line with these events: {unexpected:?}");
    let outcomes: BTreeSet<_> =
        lines.iter().map(|line| named(line, "outcome")).filter(|name| !name.is_empty()).collect();
    assert_eq!(outcomes, ["abrupt", "closed", "lost", "orderly", "refused"].map(str::to_owned).into());
}

/// The table is in `docs/operating.md`: a question, and a line of the log that answers it.
#[test]
fn the_lines_answer_the_questions_of_operators() {
    let page = [env!("CARGO_MANIFEST_DIR"), "../../docs/operating.md"].iter().collect::<PathBuf>();
    let page = fs::read_to_string(page).expect("the page is there");
    let section = page.split("\n## ").find(|section| section.starts_with("What the log answers")).expect("a section");
    let golden = fs::read_to_string(path("evening.log")).expect("the file is there");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
    let is_line = |line: &str| ["`INFO ", "`WARN ", "`ERROR "].iter().any(|level| line.starts_with(level));
    let rows: Vec<_> = rows.filter(|(_, line)| is_line(line)).collect();
    assert!(rows.len() >= 25, "{}", rows.len());
    for (question, line) in rows {
        assert!(question.ends_with('?'), "{question}");
        let line = line.trim_matches('`');
        assert!(golden.contains(line), "{question} This line is not in the log: {line}");
    }
}
