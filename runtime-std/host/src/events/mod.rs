//! All names that logs, metrics, hooks and the API use for what happens: refusals, ends of connections, events of the log.
//! Each name has a text that says what it means and what to do. The names never change; new ones may come.

mod closes;
mod log;
mod refusals;

use std::fmt::{self, Write as _};

/// The target of lines of which one cause may bring thousands at once, such as the begin of a stream for its players. A
/// log should limit how many it writes.
pub const MANY: &str = "anabranch_host::players";

/// What a name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Why a request of a client was refused: [`Refusal::code`](anabranch_core::policy::Refusal::code).
    Refusal,
    /// Why a connection ended: [`CloseReason::name`](anabranch_core::session::CloseReason::name). A connection that ends
    /// by a rule after its request was granted has the code of the refusal as its reason.
    Close,
    /// What a line of the log is about: its field `event`.
    Event,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Refusal => "refusal",
            Kind::Close => "reason for the end of a connection",
            Kind::Event => "event of the log",
        })
    }
}

/// A name with its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// What the name names.
    pub kind: Kind,
    /// The name; no other of the same kind has it.
    pub name: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What an operator can do.
    pub advice: &'static str,
}

/// All names: refusals, then reasons for the end of connections, then events of the log.
pub fn explanations() -> impl Iterator<Item = &'static Explanation> {
    refusals::ALL.iter().chain(closes::ALL).chain(log::ALL)
}

/// All names of one kind as a table in Markdown, as in `docs/events.md`.
pub fn table(kind: Kind) -> String {
    let mut text = String::from("| name | what it means | what to do |\n|---|---|---|\n");
    for Explanation { name, meaning, advice, .. } in explanations().filter(|explanation| explanation.kind == kind) {
        // Writing to a String does not fail.
        let _ = writeln!(text, "| `{name}` | {meaning} | {advice} |");
    }
    text
}

/// The text of `docs/events.md`.
pub fn document() -> String {
    let [refusals, closes, events] = [Kind::Refusal, Kind::Close, Kind::Event].map(table);
    format!(
        "# What the log says\n\nThe names on this page are in the log, in metrics, in hooks and in the API, and never \
         change. `anabranch explain NAME`\nprints the text of each. `cargo run -p anabranch-host --example events` \
         generates this page.\n\nIn JSON (`log.format = \"json\"`), the event is the field `event`, the code of a \
         refusal is `code`, the reason for the\nend of a connection is `reason`, and all else that a line says has a \
         field, too.\n\n## Refusals\n\nThe code of a refusal is in the log, in `anabranch_refusals_total{{code}}`, and in \
         `on_close`.\n\n{refusals}\n## Ends of connections\n\nThe reason is in the log, in \
         `anabranch_connections_closed_total{{reason}}`, and in `on_close`. A connection that\nends by a rule after \
         its request was granted has the code of the refusal as its reason.\n\n{closes}\n## Events of the \
         log\n\n{events}"
    )
}

const fn refusal(name: &'static str, meaning: &'static str, advice: &'static str) -> Explanation {
    Explanation { kind: Kind::Refusal, name, meaning, advice }
}

const fn close(name: &'static str, meaning: &'static str, advice: &'static str) -> Explanation {
    Explanation { kind: Kind::Close, name, meaning, advice }
}

const fn event(name: &'static str, meaning: &'static str, advice: &'static str) -> Explanation {
    Explanation { kind: Kind::Event, name, meaning, advice }
}

#[cfg(test)]
mod tests;
