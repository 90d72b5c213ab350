//! Notes the commit that the program is built from, for `--version`.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=ANABRANCH_COMMIT");
    let given = std::env::var("ANABRANCH_COMMIT").ok();
    if given.is_none() {
        // A commit changes one of these.
        for name in ["HEAD", "logs/HEAD"] {
            if let Some(path) = git(&["rev-parse", "--git-path", name]) {
                println!("cargo::rerun-if-changed={path}");
            }
        }
    }
    let commit = given.or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    let version = env!("CARGO_PKG_VERSION");
    let whole = commit.map_or(version.to_owned(), |commit| format!("{version} ({commit})"));
    println!("cargo::rustc-env=ANABRANCH_VERSION={whole}");
}

/// What git says; nothing outside of a repository, or without git.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned()).filter(|text| !text.is_empty())
}
