use anabranch_tests::program::Line;
use std::collections::{BTreeMap, HashMap};

/// How one connection ended, by the server's log.
#[derive(Debug, Clone)]
pub(crate) struct Closed {
    /// The name of the reason, which does not change.
    pub(crate) reason: String,
    /// How long it was open.
    pub(crate) seconds: f64,
    pub(crate) line: String,
}

/// The number of the connection that a line is about.
pub(crate) fn connection(line: &str) -> Option<u64> {
    line.split_once(" conn ")?.1.split(' ').next()?.parse().ok()
}

/// The closed connections among these lines.
pub(crate) fn closed(lines: &[Line]) -> HashMap<u64, Closed> {
    let read = |line: &Line| {
        let text = &line.text;
        let report = text.split_once(" closed: ")?.1;
        let (reason, rest) = report.split_once(") in phase ")?;
        let seconds = rest.split_once(" bytes in ")?.1.split(' ').next()?.parse().ok()?;
        let reason = reason.rsplit('(').next()?.to_owned();
        Some((connection(text)?, Closed { reason, seconds, line: text.clone() }))
    };
    lines.iter().map(|line| read(line).unwrap_or_else(|| panic!("a line of another form: {}", line.text))).collect()
}

/// The reasons and how often there were, as in `peer_closed 12, peer_lost 3`.
pub(crate) fn summary<'a>(closed: impl Iterator<Item = &'a Closed>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for closed in closed {
        *counts.entry(&closed.reason).or_default() += 1;
    }
    let words: Vec<String> = counts.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    words.join(", ")
}
