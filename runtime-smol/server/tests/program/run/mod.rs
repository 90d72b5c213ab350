//! Programs that the server starts when a stream begins and ends when it ends.

mod ending;
mod passes;
mod starting;

use std::fs;
use std::path::Path;

use anabranch_tests::program::Program;
use anabranch_tests::{TIMEOUT, wait_for};
use serde_json::Value as Json;

/// An entry for all streams of `live`, with these items of its command in TOML.
fn entry(command: &str, more: &str) -> String {
    format!("[[defaults.run]]\nstreams = ['live/*']\ncommand = [{command}]\n{more}\n")
}

/// A shell script as a command, with arguments behind it. No argument of the script is a part of it.
fn script(text: &str, arguments: &str) -> String {
    format!("'sh', '-c', '''{text}''', 'sh', {arguments}")
}

/// With it, a stream is over as soon as its publisher is gone.
const AT_ONCE: &str = "[defaults.play]\nunpublish_grace = '0s'\n";

/// A server with these settings and the API.
fn start(settings: &str) -> Program {
    crate::start_with_api(&format!("{AT_ONCE}{settings}"))
}

/// A server with such an entry and the API.
fn server(command: &str, more: &str) -> Program {
    start(&entry(command, more))
}

/// The processes, apart from zombies, that have this text among their arguments.
fn processes(text: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        // Not the server itself, whose configuration file may be named like that, and not a process on its way to the
        // program.
        if line.contains(text) && !line.contains("--config") && !line.contains("anabranch-launch") {
            found.push(pid);
        }
    }
    found
}

/// Waits until so many processes have this text among their arguments.
fn wait_processes(text: &str, count: usize) -> Vec<u32> {
    wait_for(&format!("{count} processes with {text}"), TIMEOUT, || {
        let found = processes(text);
        (found.len() == count).then_some(found)
    })
}

/// Waits until a file is there and complete: scripts write another one and rename it.
fn wait_file(path: &Path) -> String {
    wait_for(&format!("{}", path.display()), TIMEOUT, || fs::read_to_string(path).ok())
}

/// The list of programs.
fn runs(server: &Program) -> Vec<Json> {
    server.get("/api/v1/runs")["runs"].as_array().unwrap().clone()
}

/// Waits until the list of programs is as wanted.
fn wait_runs(server: &Program, what: &str, is: impl Fn(&[Json]) -> bool) -> Vec<Json> {
    wait_for(what, TIMEOUT, || Some(runs(server)).filter(|runs| is(runs)))
}

/// The processes of a server that have ended and were not waited for.
fn zombies(parent: u32) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let words: Vec<_> = rest.split(' ').collect();
        if words.first() == Some(&"Z") && words.get(1) == Some(&parent.to_string().as_str()) {
            found.push(stat);
        }
    }
    found
}
