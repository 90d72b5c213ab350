//! The loop of the blocking example is shown in the documentation of core and in the README. It is the same in all three.

const EXAMPLE: &str = include_str!("../../core/examples/blocking.rs");
const CRATE_PAGE: &str = include_str!("../../core/src/lib.rs");
const README: &str = include_str!("../../README.md");

#[test]
fn the_documentation_shows_the_loop_of_the_example() {
    let page: Vec<_> = CRATE_PAGE.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let page = page.iter().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n");
    for name in ["serve", "read", "act"] {
        assert_eq!(function(&page, name), function(EXAMPLE, name), "core/src/lib.rs");
    }
    assert_eq!(function(README, "serve"), function(EXAMPLE, "serve"), "README.md");
}

#[test]
fn the_loop_has_thirty_lines() {
    assert_eq!(function(EXAMPLE, "serve").lines().count(), 30);
}

/// A function at the left margin, up to its closing brace.
fn function<'a>(text: &'a str, name: &str) -> &'a str {
    let start = text.find(&format!("\nfn {name}(")).unwrap_or_else(|| panic!("no function {name}")) + 1;
    let length = text[start..].find("\n}").expect("a function ends") + 2;
    &text[start..start + length]
}
