//! Tables of docs/robustness.md say what the code says.

use anabranch_core::conn::Config;
use anabranch_core::pacing::Pacing;

fn page() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/robustness.md")).expect("the page")
}

#[test]
fn the_table_of_times_has_the_waits_of_pacing() {
    // A new field does not compile here before it has a row.
    let Pacing { merge_window, merge_window_max, read_wait, read_wait_publishers } = Pacing::default();
    let rows = [
        ("`Pacing::merge_window`", format!("{} ms (`pacing.merge_window`, ", merge_window.as_millis())),
        ("`Pacing::merge_window_max`", format!("{} ms (`pacing.merge_window_max`, ", merge_window_max.as_millis())),
        ("`Pacing::read_wait`", format!("{} ms (`pacing.read_wait`)", read_wait.as_millis())),
        ("`Pacing::read_wait_publishers`", format!("{read_wait_publishers} (`pacing.read_wait_publishers`)")),
    ];
    let page = page();
    for (field, default) in rows {
        let mut cells = page.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
        let found = cells.any(|(name, rest)| name.contains(field) && rest.starts_with(&default));
        assert!(found, "docs/robustness.md has no row for {field} with {default}");
    }
}

#[test]
fn the_table_of_limits_that_agree_is_the_one_of_the_code() {
    let page = page();
    let agreements = Config::default().agreements();
    assert!(agreements.len() > 10, "{agreements:?}");
    for agreement in &agreements {
        assert!(agreement.holds(), "{agreement}");
        let (value, needed) = (agreement.value, agreement.needed);
        let row = format!("| `{}` {value} | {} {needed} | {} |", agreement.limit, agreement.room_for, agreement.else_);
        assert!(page.lines().any(|line| line == row), "docs/robustness.md has no row\n{row}");
    }
}
