//! Runs a target over inputs: `replay TARGET FILE_OR_FOLDER...`.

use std::process::ExitCode;

use anabranch_fuzz::{TARGETS, replay};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let name = arguments.next().unwrap_or_default();
    let Some(target) = TARGETS.iter().find(|target| name == target.name) else {
        eprintln!("usage: replay TARGET FILE_OR_FOLDER...");
        return ExitCode::from(2);
    };
    match replay::replay(target.run, arguments) {
        Ok(count) => {
            println!("{count} inputs");
            ExitCode::SUCCESS
        }
        Err(failures) => {
            eprintln!("{failures}");
            ExitCode::FAILURE
        }
    }
}
