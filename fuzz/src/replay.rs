//! The targets without a fuzzer: each input once, as libFuzzer does with `-runs=0`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Runs a target over files and all that is in folders. Returns how many inputs there were.
///
/// # Errors
///
/// There are none, some cannot be read, or the target panicked; a line for each says which. It goes on with the others.
pub fn replay(target: fn(&[u8]), paths: impl IntoIterator<Item: AsRef<Path>>) -> Result<usize, String> {
    let mut inputs = Vec::new();
    for path in paths {
        let path = path.as_ref();
        collect(path, &mut inputs).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    inputs.sort();
    // What is left of any input is legal, and of none too.
    target(&[]);
    let mut failures = Vec::new();
    for path in &inputs {
        let run = match fs::read(path) {
            Ok(bytes) => catch_unwind(AssertUnwindSafe(|| target(&bytes))).map_err(|_| "it panicked".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(words) = run {
            failures.push(format!("failed on {}: {words}", path.display()));
        }
    }
    if inputs.is_empty() {
        failures.push("there are no inputs".to_owned());
    }
    if failures.is_empty() { Ok(inputs.len()) } else { Err(failures.join("\n")) }
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
