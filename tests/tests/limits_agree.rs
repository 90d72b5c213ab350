//! The table of limits that hold together says what the code says.

use anabranch_core::conn::Config;

#[test]
fn the_table_of_limits_that_agree_is_the_one_of_the_code() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/robustness.md")).expect("the page");
    let agreements = Config::default().agreements();
    assert!(agreements.len() > 10, "{agreements:?}");
    for agreement in &agreements {
        assert!(agreement.holds(), "{agreement}");
        let (value, needed) = (agreement.value, agreement.needed);
        let row = format!("| `{}` {value} | {} {needed} | {} |", agreement.limit, agreement.room_for, agreement.else_);
        assert!(page.lines().any(|line| line == row), "docs/robustness.md has no row\n{row}");
    }
}
