use anabranch_tests::program::Runtime;
use std::fmt::Write as _;

use crate::Outcome;

/// The name of a runtime in the table and in filters.
pub(crate) fn short(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Smol => "smol",
        Runtime::Std => "std",
    }
}

/// All cases, one a line and runtime.
pub(crate) fn of(outcomes: &[Outcome]) -> String {
    let mut rows = vec![
        [
            "case",
            "server",
            "attackers",
            "limit",
            "outcome",
            "memory: most / bound / after",
            "left: threads, files, connections, streams",
            "neighbours: got, lost, longest pause, p99 late",
        ]
        .map(str::to_owned),
    ];
    for (job, outcome) in outcomes {
        let [attackers, ended, memory, after, neighbours] = match outcome {
            Ok(row) => [row.attackers.to_string(), row.ended.clone(), row.memory(), row.after(), row.neighbours()],
            Err(_) => ["", "FAILED", "", "", ""].map(str::to_owned),
        };
        let name = job.case.name.replace('_', " ");
        rows.push([
            name.clone(),
            short(job.runtime).to_owned(),
            attackers,
            job.case.limit.to_owned(),
            ended,
            memory,
            after,
            neighbours,
        ]);
        if job.case.settings.is_some() {
            let [server, limit] = [short(Runtime::Std), job.case.limit].map(str::to_owned);
            let ended = format!("not run: it has no {}", job.case.lacking);
            rows.push([name, server, String::new(), limit, ended, String::new(), String::new(), String::new()]);
        }
    }
    let widths: Vec<usize> =
        (0..rows[0].len()).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    let mut table = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}
