use std::fmt;

use serde_json::{Value, json};

use crate::settings::tree::{Origin, Path};
use crate::terminal_text::clean;

/// How good something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Ok,
    Warning,
    Fault,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Fault => "fault",
        }
    }
}

/// One thing that doctor has looked at.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    subject: &'static str,
    state: State,
    words: String,
    /// What to do; empty if nothing.
    cure: String,
    origin: Origin,
    path: Path,
}

impl Entry {
    pub(super) fn ok(subject: &'static str, words: impl Into<String>) -> Self {
        Entry::new(subject, State::Ok, words, "")
    }

    pub(super) fn warning(subject: &'static str, words: impl Into<String>, cure: &str) -> Self {
        Entry::new(subject, State::Warning, words, cure)
    }

    pub(super) fn fault(subject: &'static str, words: impl Into<String>, cure: &str) -> Self {
        Entry::new(subject, State::Fault, words, cure)
    }

    fn new(subject: &'static str, state: State, words: impl Into<String>, cure: &str) -> Self {
        // Names of processes and answers of back ends are not ours.
        let (words, cure) = (clean(&words.into()), clean(cure));
        Entry { subject, state, words, cure, origin: Origin::Default, path: Path::default() }
    }

    /// The same, about this value.
    pub(super) fn at(self, origin: &Origin, path: &Path) -> Self {
        Entry { origin: origin.clone(), path: path.clone(), ..self }
    }

    fn json(&self) -> Value {
        let mut object = json!({
            "subject": self.subject,
            "state": self.state.name(),
            "words": self.words,
            "cure": self.cure,
        });
        let extra = match &self.origin {
            Origin::Default => json!({}),
            Origin::File { name, line, column } => json!({ "file": **name, "line": line, "column": column }),
            Origin::Variable(name) => json!({ "variable": name }),
            Origin::Flag(name) => json!({ "option": name }),
        };
        if let (Some(object), Value::Object(mut extra)) = (object.as_object_mut(), extra) {
            if !self.path.0.is_empty() {
                extra.insert("key".to_owned(), self.path.to_string().into());
            }
            object.append(&mut extra);
        }
        object
    }
}

/// All that doctor has looked at.
#[derive(Debug, Default)]
pub(super) struct Report {
    entries: Vec<Entry>,
}

impl Report {
    pub(super) fn add(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    pub(super) fn has_faults(&self) -> bool {
        self.count(State::Fault) > 0
    }

    fn count(&self, state: State) -> usize {
        self.entries.iter().filter(|entry| entry.state == state).count()
    }

    pub(super) fn json(&self) -> String {
        let findings: Vec<_> = self.entries.iter().map(Entry::json).collect();
        let report = json!({
            "ok": !self.has_faults(),
            "faults": self.count(State::Fault),
            "warnings": self.count(State::Warning),
            "findings": findings,
        });
        format!("{report:#}")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Entry { subject, state, words, cure, .. } in &self.entries {
            writeln!(f, "{:8} {subject:14} {words}", state.name())?;
            if !cure.is_empty() {
                writeln!(f, "{:23} to do: {cure}", "")?;
            }
        }
        let (faults, warnings) = (self.count(State::Fault), self.count(State::Warning));
        write!(f, "\n{faults} faults, {warnings} warnings")
    }
}
