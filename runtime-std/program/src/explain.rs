//! `explain`: what a name in the log, in metrics or in a client's message means, and what to do.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anabranch_core::policy::Refusal;
use anabranch_host::events::{Explanation, Kind, explanations};
use clap::{Arg, ArgMatches, Command};

/// The subcommand that explains names, and its argument.
pub const EXPLAIN: &str = "explain";
const NAME: &str = "name";

/// How alike a known name must be to be suggested, and how many are.
const ALIKE: f64 = 0.75;
const SUGGESTED: usize = 3;

/// A status that clients get and show, with the names that the log has for it.
struct Status {
    code: &'static str,
    meaning: &'static str,
    /// Reasons for which connections end with it.
    closes: &'static [&'static str],
}

impl Status {
    /// Codes of the refusals behind it.
    fn refusals(&self) -> impl Iterator<Item = &'static str> {
        Refusal::STATUSES.iter().filter(|(_, statuses)| statuses.contains(&self.code)).map(|(code, _)| *code)
    }
}

const STATUSES: [Status; 6] = [
    Status {
        code: "NetConnection.Connect.InvalidApp",
        meaning: "The server cannot use the URL of connect.",
        closes: &["rejected"],
    },
    Status {
        code: "NetConnection.Connect.Rejected",
        meaning: "The client may not connect, or it is sent to another server.",
        closes: &["rejected"],
    },
    Status {
        code: "NetStream.Publish.BadName",
        meaning: "The name of the stream is taken, or no stream can have it. OBS shows it as a wrong stream key.",
        closes: &["rejected", "taken_over"],
    },
    Status {
        code: "NetStream.Publish.Denied",
        meaning: "The client may not publish this stream, or not any more.",
        closes: &["rejected", "idle_publisher"],
    },
    Status {
        code: "NetStream.Play.Failed",
        meaning: "The client may not play this stream, or not any more.",
        closes: &["rejected", "player_too_slow"],
    },
    Status {
        code: "NetStream.Play.StreamNotFound",
        meaning: "No stream can have this name, or none was published under it for as long as players may wait.",
        closes: &["rejected", "wait_for_stream_timeout"],
    },
];

/// The subcommand.
pub(crate) fn command() -> Command {
    let name = Arg::new(NAME).value_name("NAME").help(
        "A name from the log, from the metrics or from a client, such as name_taken or NetStream.Publish.BadName",
    );
    Command::new(EXPLAIN)
        .about("Say what a refusal, a reason for the end of a connection or an event of the log means, and what to do")
        .long_about(
            "Say what a refusal, a reason for the end of a connection or an event of the log means, and what to do. \
             Without a name, all names are listed.",
        )
        .arg(name)
}

/// Prints what a name means.
///
/// # Errors
/// There is no such name; the text suggests others.
pub fn explain(matches: &ArgMatches) -> Result<ExitCode, String> {
    let text = match matches.get_one::<String>(NAME) {
        Some(name) => text_of(name)?,
        None => list(),
    };
    // A reader that has seen enough closes the pipe.
    let _ = write!(io::stdout(), "{text}");
    Ok(ExitCode::SUCCESS)
}

fn text_of(name: &str) -> Result<String, String> {
    let asked = normal(name);
    let mut texts: Vec<_> = explanations().filter(|known| normal(known.name) == asked).map(one).collect();
    texts.extend(STATUSES.iter().filter(|known| normal(known.code) == asked).map(status));
    if texts.is_empty() {
        return Err(unknown(name));
    }
    Ok(texts.join("\n"))
}

/// Names in the form in which they are compared: users write them in their own way.
fn normal(name: &str) -> String {
    name.trim().replace(['-', ' '], "_").to_ascii_lowercase()
}

fn one(Explanation { kind, name, meaning, advice }: &Explanation) -> String {
    format!("{name}: {kind}\n  {meaning}\n  To do: {advice}\n")
}

fn status(status: &Status) -> String {
    let Status { code, meaning, closes } = status;
    let mut text =
        format!("{code}: status that the client gets\n  {meaning}\n  The log names the reason. It is one of:\n");
    let reasons =
        status.refusals().map(|name| (Kind::Refusal, name)).chain(closes.iter().map(|name| (Kind::Close, *name)));
    for (kind, name) in reasons {
        if let Some(known) = explanations().find(|known| known.kind == kind && known.name == name) {
            // Writing to a String does not fail.
            let _ = writeln!(text, "    {name:24} {}", known.meaning);
        }
    }
    text
}

fn list() -> String {
    let mut text = String::new();
    let mut section = None;
    for Explanation { kind, name, meaning, .. } in explanations() {
        if section != Some(*kind) {
            let title = match kind {
                Kind::Refusal => "Refusals",
                Kind::Close => "Reasons for the end of a connection",
                Kind::Event => "Events of the log",
            };
            let _ = writeln!(text, "{}{title}", if section.is_some() { "\n" } else { "" });
            section = Some(*kind);
        }
        let _ = writeln!(text, "  {name:24} {meaning}");
    }
    let _ = writeln!(text, "\nStatuses that clients get");
    for Status { code, meaning, .. } in &STATUSES {
        let _ = writeln!(text, "  {code:32} {meaning}");
    }
    text
}

fn unknown(name: &str) -> String {
    let asked = normal(name);
    let names = explanations().map(|known| known.name).chain(STATUSES.iter().map(|status| status.code));
    let mut near: Vec<_> = names
        .map(|known| (strsim::jaro_winkler(&normal(known), &asked), known))
        // A part of a name is enough.
        .map(|(likeness, known)| {
            (if asked.len() > 2 && normal(known).contains(&asked) { 1.0 } else { likeness }, known)
        })
        .filter(|(likeness, _)| *likeness > ALIKE)
        .collect();
    near.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(other.1)));
    near.dedup_by_key(|(_, known)| *known);
    near.truncate(SUGGESTED);
    let near: Vec<_> = near.into_iter().map(|(_, known)| known).collect();
    let shown: String = name.chars().take(60).collect();
    match near.as_slice() {
        [] => format!("there is no name {shown:?}; \"{EXPLAIN}\" without a name lists all"),
        near => format!("there is no name {shown:?}; did you mean {}?", near.join(" or ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_explained_in_the_words_of_the_registry() {
        for known in explanations() {
            let text = text_of(known.name).unwrap();
            for words in [known.name, known.meaning, known.advice] {
                assert!(text.contains(words), "{words} is not in {text}");
            }
            assert!(list().contains(known.meaning), "{}", known.name);
        }
    }

    #[test]
    fn a_status_leads_to_the_refusals_behind_it() {
        let text = text_of("netstream.publish.badname").unwrap();
        assert!(text.contains("name_taken") && text.contains("name_invalid"), "{text}");
        for status @ Status { code, closes, .. } in &STATUSES {
            let text = text_of(code).unwrap();
            for name in status.refusals().chain(closes.iter().copied()) {
                assert!(text.contains(&format!("    {name} ")), "{code}: {name} is not in {text}");
            }
            assert!(list().contains(code));
        }
        // No status of a refusal is missing.
        for (refusal, statuses) in Refusal::STATUSES {
            let is_explained = |code: &&str| STATUSES.iter().any(|status| status.code == *code);
            assert!(!statuses.is_empty() && statuses.iter().all(is_explained), "{refusal}");
        }
    }

    #[test]
    fn a_name_that_is_not_there_suggests_others() {
        assert!(unknown("name_takn").contains("did you mean name_taken"), "{}", unknown("name_takn"));
        assert!(unknown("token").contains("token_"), "{}", unknown("token"));
        assert!(unknown("NetStream.Publish.Badnam").contains("NetStream.Publish.BadName"));
        assert!(unknown("xyzzy").contains("lists all"), "{}", unknown("xyzzy"));
        assert!(text_of("Name-Taken").is_ok());
    }
}
