//! The configuration of the running program: where it comes from, what is said about it, and how it changes.

mod broken;
mod checking;
mod numbered;
mod reloading;

use anabranch_tests::program::Launch;

/// The program with nothing that the test does not say.
fn program() -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_anabranch"))
}

/// What it prints, and whether it calls that a success.
fn run(launch: Launch) -> (bool, String, String) {
    let ended = launch.run();
    (ended.status.success(), ended.stdout, ended.stderr)
}
