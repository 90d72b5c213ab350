use std::fmt::Write as _;

use super::Runtime;
use super::cases::GROUPS;
use super::runner::Outcome;

/// Wide enough for names that are short sentences.
const NAME: usize = 84;
const CELL: usize = 9;

/// All cases, one a line, with a column for each runtime; then the totals.
pub(super) fn of(runtimes: &[Runtime], outcomes: &[Outcome]) -> String {
    let mut table = String::new();
    let is_asked_for = |name: &str| outcomes.iter().any(|outcome| outcome.job.group.name == name);
    row(&mut table, "", runtimes.iter().map(|runtime| runtime.name.to_owned()));
    for group in GROUPS.iter().filter(|group| is_asked_for(group.name)) {
        row(&mut table, group.name, std::iter::empty());
        for case in group.cases {
            let cells: Vec<_> =
                (0..runtimes.len()).map(|runtime| cell(outcomes, group.name, case.name, runtime)).collect();
            if cells.iter().any(|cell| cell != "-") {
                row(&mut table, &format!("  {}", case.name.replace('_', " ")), cells.into_iter());
            }
        }
    }
    row(&mut table, "passed", std::iter::empty());
    for group in GROUPS.iter().filter(|group| is_asked_for(group.name)) {
        let totals = (0..runtimes.len()).map(|runtime| total(outcomes, Some(group.name), runtime));
        row(&mut table, &format!("  {}", group.name), totals);
    }
    row(&mut table, "  in all", (0..runtimes.len()).map(|runtime| total(outcomes, None, runtime)));
    table
}

fn cell(outcomes: &[Outcome], group: &str, case: &str, runtime: usize) -> String {
    let is_meant = |outcome: &&Outcome| {
        let job = &outcome.job;
        (job.group.name, job.case.name, job.runtime) == (group, case, runtime)
    };
    match outcomes.iter().find(is_meant) {
        None => "-".to_owned(),
        Some(Outcome { failure: None, .. }) => "ok".to_owned(),
        Some(_) => "FAILED".to_owned(),
    }
}

fn total(outcomes: &[Outcome], group: Option<&str>, runtime: usize) -> String {
    let of_group = |outcome: &&Outcome| {
        outcome.job.runtime == runtime && group.is_none_or(|group| outcome.job.group.name == group)
    };
    let all = outcomes.iter().filter(of_group).count();
    let passed = outcomes.iter().filter(of_group).filter(|outcome| outcome.failure.is_none()).count();
    format!("{passed}/{all}")
}

fn row(table: &mut String, name: &str, cells: impl Iterator<Item = String>) {
    let mut line = format!("{name:NAME$}");
    for cell in cells {
        let _ = write!(line, "{cell:>CELL$}");
    }
    table.push_str(line.trim_end());
    table.push('\n');
}
