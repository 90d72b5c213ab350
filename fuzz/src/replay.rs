//! The targets without a fuzzer: each input once, as libFuzzer does with `-runs=0`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

/// Runs `target` over the files and folders on the command line. Says which input failed, and goes on with the others.
pub fn main(target: fn(&[u8])) -> ExitCode {
    let mut inputs = Vec::new();
    for path in env::args_os().skip(1) {
        if let Err(error) = collect(Path::new(&path), &mut inputs) {
            eprintln!("{}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    inputs.sort();
    // What is left of any input is legal, and of none too.
    target(&[]);
    let mut failed = 0;
    for path in &inputs {
        let run = match fs::read(path) {
            Ok(bytes) => catch_unwind(AssertUnwindSafe(|| target(&bytes))).map_err(|_| "it panicked".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(words) = run {
            eprintln!("failed on {}: {words}", path.display());
            failed += 1;
        }
    }
    println!("{} inputs, {failed} failed", inputs.len());
    if failed == 0 && !inputs.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn collect(path: &Path, inputs: &mut Vec<PathBuf>) -> io::Result<()> {
    if !fs::metadata(path)?.is_dir() {
        inputs.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        collect(&entry?.path(), inputs)?;
    }
    Ok(())
}
