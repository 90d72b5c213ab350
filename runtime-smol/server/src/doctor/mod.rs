//! `anabranch doctor`: looks at the configuration, the machine, the back ends and the running server, and says what is
//! wrong and what to do. It changes nothing, and no client notices it.

mod clock;
mod disk;
mod entry;
mod machine;
mod network;
mod rtc;
mod server;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anabranch_program::UnknownVariable;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::cluster::{self, ClusterSettings};
use crate::examine::parts::{date, dates, days, sections};
use crate::examine::rtc::NO_UDP;
use crate::examine::{Examined, Finding, Grade, Purpose};
use crate::hooks::{self, Probe};
use crate::settings::tree::{Origin, Path, Step};
use crate::settings::{Loaded, Sources};
use entry::{Entry, Report};
use server::Running;

/// The subcommand.
pub(crate) const DOCTOR: &str = "doctor";
const JSON: &str = "json";
const ASK: &str = "ask-hooks";

/// The subcommand with its own options; `program` has those of the server.
pub(crate) fn command(program: Command) -> Command {
    let json = Arg::new(JSON).long(JSON).action(ArgAction::SetTrue).help("Print JSON, for programs");
    let ask = Arg::new(ASK).long(ASK).action(ArgAction::SetTrue).help(
        "Also send each hook a question with the action \"on_doctor\", to see that the answer has the right form. \
         Without this option each hook only gets an OPTIONS request without a body",
    );
    program
        .name(DOCTOR)
        .about("Look at configuration, ports, files, limits, clock, certificates, hooks, disks and network")
        .long_about(
            "Look at configuration, ports, files, limits, clock, certificates, hooks, disks and network, and say what is \
             wrong and what to do. Nothing is changed. The exit code is 0 if no fault is found, and 1 otherwise.\n\nRun it \
             as the server's user and with the server's environment: both decide what the server may do.",
        )
        .max_term_width(100)
        .args([json, ask])
}

/// Looks at everything and prints what is found.
///
/// # Errors
/// None so far.
pub(crate) fn run(matches: &ArgMatches, sources: &Sources, unknown: &[UnknownVariable]) -> Result<ExitCode, String> {
    let mut report = Report::default();
    let examined = Examined::of(sources, unknown, Purpose::Check);
    let running = Running::ask(sources);
    configuration(&examined, sources.file.as_ref(), &mut report);
    if let Some(loaded) = &examined.loaded {
        network::ports(loaded, &running, &mut report);
        rtc::look(loaded, &running, &mut report);
        server::api(loaded, &running, &mut report);
        machine::files(loaded, &running, &mut report);
        machine::memory(loaded, &mut report);
    }
    clock::look(sources.file.as_deref(), &mut report);
    if let Some(loaded) = &examined.loaded {
        certificates(loaded, &mut report);
        ask_hooks(loaded, matches.get_flag(ASK), &mut report);
        cluster(loaded, &mut report);
        disk::look(loaded, &running, &mut report);
        network::reachability(loaded, &mut report);
    }
    machine::kernel(&mut report);
    let text = if matches.get_flag(JSON) { report.json() } else { report.to_string() };
    // A reader that has seen enough closes the pipe.
    let _ = writeln!(io::stdout(), "{text}");
    Ok(if report.has_faults() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What `check` finds, under the subjects of this report.
fn configuration(examined: &Examined, file: Option<&PathBuf>, report: &mut Report) {
    for problem in examined.problems.iter() {
        let cure = "correct it: \"anabranch schema --example\" shows all keys with their descriptions";
        report.add(Entry::fault("configuration", &problem.line, cure).at(&problem.origin, &problem.path));
    }
    for finding in &examined.findings {
        let subject = subject(finding);
        let is_said_below = finding.grade == Grade::Warning
            && (subject == "ports"
                || subject == "cluster"
                || (subject == "certificates" && finding.path.0.len() > 3)
                || (subject == "webrtc" && finding.fault.words.starts_with(NO_UDP)));
        if is_said_below {
            continue;
        }
        let Finding { grade, origin, path, fault } = finding;
        let place = if *origin == Origin::Default { String::new() } else { format!("{origin}: ") };
        let words = format!("{place}{}", fault.words);
        let entry = match grade {
            Grade::Fault => Entry::fault(subject, words, &fault.cure),
            Grade::Warning => Entry::warning(subject, words, &fault.cure),
        };
        report.add(entry.at(origin, path));
    }
    if examined.problems.is_empty() {
        let name = file
            .map_or_else(|| "no file: defaults, variables and options".to_owned(), |file| file.display().to_string());
        report.add(Entry::ok("configuration", format!("{name}; all values are valid")));
    }
    if rustix::process::geteuid().is_root() {
        let words = "doctor runs as root, which may read and write nearly everything";
        let cure = "if the server runs as another user, run doctor as that user: sudo -u USER anabranch doctor";
        report.add(Entry::warning("configuration", words, cure));
    }
}

fn subject(finding: &Finding) -> &'static str {
    let key = |step: &Step| match step {
        Step::Key(key) => Some(key.clone()),
        Step::Index(_) => None,
    };
    let keys: Vec<_> = finding.path.0.iter().filter_map(key).collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    match keys.as_slice() {
        ["rtc", ..] => "webrtc",
        [_, "listen"] => "ports",
        ["tls", ..] => "certificates",
        [.., "hooks", _] => "hooks",
        [.., "record" | "capture", _] => "folders",
        ["api", ..] => "api",
        ["cluster", ..] => "cluster",
        _ => "configuration",
    }
}

/// The names and dates of certificates.
fn certificates(loaded: &Loaded, report: &mut Report) {
    let tls = &loaded.settings.tls;
    for (index, files) in tls.certificates.iter().enumerate() {
        let path = Path::of(&["tls", "certificates"]).index(index).key("certificate");
        let origin = loaded.tree.nearest(&path).origin().clone();
        let file = files.certificate.display().to_string();
        // Files that cannot be used were found before.
        let Ok(found) = files.examine() else {
            continue;
        };
        let names = if found.names.is_empty() { "no host".to_owned() } else { found.names.join(", ") };
        let entry = match dates(&file, &found) {
            Some(fault) if fault.words.contains("clients refuse it") => {
                Entry::fault("certificates", fault.words, &fault.cure)
            }
            Some(fault) => Entry::warning("certificates", fault.words, &fault.cure),
            None => {
                let now = clock::now().as_secs();
                let left = days(found.not_after.saturating_sub(now));
                Entry::ok(
                    "certificates",
                    format!("{file} for {names}: valid for {left}, until {}", date(found.not_after)),
                )
            }
        };
        report.add(entry.at(&origin, &path));
        if found.chain == 1 {
            let words = format!("{file} has one certificate only: clients that do not know its issuer refuse it");
            let cure = "use the file with the whole chain, such as fullchain.pem; a certificate that is its own issuer \
                        must be given to each client";
            report.add(Entry::warning("certificates", words, cure).at(&origin, &path));
        }
    }
}

/// Whether the directory of the cluster answers, and the server is reached where it says. What `check` warns of is said
/// here, so it is not said twice.
fn cluster(loaded: &Loaded, report: &mut Report) {
    let settings: &ClusterSettings = &loaded.settings.cluster;
    if !settings.is_on() || !settings.faults().is_empty() {
        return;
    }
    let place = |key: &str| {
        let path = Path::of(&["cluster", key]);
        (loaded.tree.nearest(&path).origin().clone(), path)
    };
    let mut add = |key: &str, entry: Entry| {
        let (origin, path) = place(key);
        report.add(entry.at(&origin, &path));
    };
    if settings.is_loopback_only() {
        let words =
            "only programs on this machine reach the server at cluster.advertise, and the directory is on another";
        let cure = "set it to the address of this machine in the network of the servers";
        add("advertise", Entry::warning("cluster", words, cure));
    }
    let found = cluster::probe(settings);
    match found.directory {
        Some(Ok(words)) => add("redis", Entry::ok("cluster", words)),
        Some(Err(fault)) => add("redis", Entry::fault("cluster", fault.words, &fault.cure)),
        None => {}
    }
    for fault in found.warnings {
        add("redis", Entry::warning("cluster", fault.words, &fault.cure));
    }
    match found.advertise {
        Some(Ok(words)) => add("advertise", Entry::ok("cluster", words)),
        Some(Err(fault)) => add("advertise", Entry::warning("cluster", fault.words, &fault.cure)),
        None => {}
    }
}

/// Whether back ends can be reached.
fn ask_hooks(loaded: &Loaded, ask: bool, report: &mut Report) {
    let sections = sections(&loaded.settings);
    let settings: Vec<_> = sections.iter().map(|(_, settings)| &settings.hooks).collect();
    for (place, Probe { url, outcome }) in hooks::probe(&settings, ask) {
        let path = sections.get(place).map(|(path, _)| path.key("hooks")).unwrap_or_default();
        let origin = loaded.tree.nearest(&path).origin().clone();
        let entry = match outcome {
            Ok(words) => Entry::ok("hooks", format!("{url}: {words}")),
            Err(fault) => Entry::fault("hooks", format!("{url}: {}", fault.words), &fault.cure),
        };
        report.add(entry.at(&origin, &path));
    }
}
