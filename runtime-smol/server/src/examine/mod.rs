//! What keeps the server from starting with a configuration, and what its operator should know. The start, `check` and
//! `doctor` look with this code, so what one of them finds the others find, too.

mod fallbacks;
pub(crate) mod parts;
mod renditions;
pub(crate) mod rtc;

use std::fmt;

use anabranch_program::{Fault, UnknownVariable};

use crate::settings::tree::{Origin, Path};
use crate::settings::{Loaded, Problems, Sources};

/// Why the configuration is examined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The server starts. If it inherits sockets, it does not listen on the addresses of `server.listen`.
    Start { inherits: bool },
    /// The operator wants to know whether it would start. The server may be running already, so a port that is in use
    /// is no fault.
    Check,
    /// The server runs, and reads its configuration again. It keeps its addresses.
    Reload,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grade {
    /// The server starts, but something may not be as it was meant.
    Warning,
    /// The server does not start.
    Fault,
}

/// Something that the operator must know, with its place and with what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) grade: Grade,
    pub(crate) origin: Origin,
    /// The key; empty if it is about no key.
    pub(crate) path: Path,
    pub(crate) fault: Fault,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.origin != Origin::Default {
            write!(f, "{}: ", self.origin)?;
        }
        if !self.path.0.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        self.fault.fmt(f)
    }
}

/// All that is known about a configuration.
#[derive(Debug)]
pub(crate) struct Examined {
    /// What is wrong with the values.
    pub(crate) problems: Problems,
    /// The configuration; with `problems`, it has defaults for the values that are wrong.
    pub(crate) loaded: Option<Loaded>,
    /// What the machine does not allow, and what is probably a mistake.
    pub(crate) findings: Vec<Finding>,
}

impl Examined {
    /// Reads the configuration and looks at all that it names. `unknown` are variables of the environment that mean
    /// nothing.
    pub(crate) fn of(sources: &Sources, unknown: &[UnknownVariable], purpose: Purpose) -> Self {
        let (problems, loaded) = sources.read();
        let mut findings: Vec<_> = unknown.iter().map(of_variable).collect();
        if let Some(loaded) = &loaded {
            let mut found = findings_of(loaded, sources, purpose);
            // A value that is wrong was replaced by its default, so nothing can be said about what is beside it.
            found.retain(|finding| !problems.iter().any(|problem| section(&problem.path) == section(&finding.path)));
            findings.append(&mut found);
        }
        Examined { problems, loaded, findings }
    }

    /// Whether the server would start.
    pub(crate) fn is_usable(&self) -> bool {
        self.loaded.is_some() && self.problems.is_empty() && self.faults().next().is_none()
    }

    /// What keeps the server from starting, apart from wrong values.
    pub(crate) fn faults(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.grade == Grade::Fault)
    }

    /// What the operator should know, one line each.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let warnings = self.findings.iter().filter(|finding| finding.grade == Grade::Warning);
        warnings.map(ToString::to_string).collect()
    }

    /// The configuration, if the server can start with it, and the warnings about it.
    ///
    /// # Errors
    /// All that keeps it from starting, one a line, after a line that says so.
    pub(crate) fn whole(self) -> Result<(Loaded, Vec<String>), String> {
        let warnings = self.warnings();
        let is_usable = self.is_usable();
        let words = self.refusal();
        self.loaded.filter(|_| is_usable).map(|loaded| (loaded, warnings)).ok_or(words)
    }

    /// The words for a configuration with which the server does not start.
    fn refusal(&self) -> String {
        let heading = if self.problems.is_empty() {
            "the server does not start with this configuration and environment"
        } else {
            "the configuration is not valid"
        };
        let mut lines = vec![heading.to_owned()];
        if !self.problems.is_empty() {
            lines.push(self.problems.to_string());
        }
        lines.extend(self.faults().map(ToString::to_string));
        lines.join("\n")
    }
}

/// What is found about a configuration whose values are right.
pub(crate) fn findings_of(loaded: &Loaded, sources: &Sources, purpose: Purpose) -> Vec<Finding> {
    let mut found = parts::Found::new(loaded);
    found.addresses(purpose);
    found.api();
    found.certificates();
    found.hooks();
    found.cluster(purpose);
    found.relays();
    found.webrtc(purpose);
    found.folders(purpose);
    found.fallbacks();
    found.renditions();
    found.runs();
    let mut findings = found.sorted();
    let advice = loaded.advice(sources.file.as_deref());
    findings.extend(advice.into_iter().map(|line| Finding {
        grade: Grade::Warning,
        origin: Origin::Default,
        path: Path::default(),
        // The line has its cure.
        fault: match line.rsplit_once(": ") {
            Some((words, cure)) => Fault::new(words, cure),
            None => Fault::new(line, "correct one of them"),
        },
    }));
    findings
}

fn of_variable(variable: &UnknownVariable) -> Finding {
    Finding {
        grade: if variable.is_fault() { Grade::Fault } else { Grade::Warning },
        origin: Origin::Default,
        path: Path::default(),
        fault: variable.fault(),
    }
}

/// The part of the configuration that a key belongs to: values in it depend on each other.
fn section(path: &Path) -> &[crate::settings::tree::Step] {
    use crate::settings::tree::Step;
    let is_shared = |step: &Step| matches!(step, Step::Key(key) if key == "defaults" || key == "vhost");
    let depth = match path.0.first() {
        Some(first) if is_shared(first) => {
            path.0.iter().position(|step| matches!(step, Step::Key(_)) && !is_shared(step))
        }
        _ => Some(0),
    };
    // A problem without a key is about the file, not about a section.
    depth.and_then(|depth| path.0.get(..=depth)).unwrap_or_default()
}
