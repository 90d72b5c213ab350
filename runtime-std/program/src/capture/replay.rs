use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use anabranch_core::capture::{Capture, End, Joined};
use anabranch_core::conn::Config;
use anabranch_core::replay::{Timeline, run};

/// Runs a capture again and writes its timeline; true if nothing differed.
pub(crate) fn replay(
    file: &Path,
    all: bool,
    config_of: impl FnOnce(&str) -> Result<Config, String>,
    out: &mut dyn Write,
) -> Result<bool, String> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let bytes = fs::read(file).map_err(|error| named(&error))?;
    let capture = Capture::parse(bytes).map_err(|error| named(&error))?;
    let config = config_of(capture.header()).map_err(|error| named(&error))?;
    let mut out = BufWriter::new(out);
    // A reader that has seen enough closes the pipe: the result is the same.
    let mut written = describe(&capture, &mut out);
    let mut timeline = match capture.joined() {
        Some(joined) => Timeline::joined(joined, all),
        None => Timeline::new(capture.opening(), &config, all),
    };
    let mut line = |words: &str| {
        if written.is_ok() {
            written = writeln!(out, "{words}");
        }
    };
    let outcome = run(&capture, &config, Instant::now(), &mut |moment| timeline.take(moment, &mut line));
    timeline.finish(&mut line);
    match capture.end() {
        End::Closed => {}
        End::Open => line("the capture ends while the connection is open"),
        End::Cut => line("the capture is cut short here"),
        End::Stopped(words) => line(&format!("the capture ends here: {words}")),
    }
    match &outcome.difference {
        None if capture.joined().is_some() => {
            line("this capture began in the middle of the connection: it can be shown, and not be run again");
        }
        None => line("same actions and bytes as captured"),
        Some(difference) => line(&format!("differs {difference}")),
    }
    let _ = out.flush();
    Ok(outcome.difference.is_none())
}

fn describe(capture: &Capture, out: &mut dyn Write) -> io::Result<()> {
    let opening = capture.opening();
    write!(out, "captured by {}: connection {}", capture.header().lines().next().unwrap_or("?"), opening.connection)?;
    if let Some(peer) = opening.peer {
        write!(out, " from {peer}")?;
    }
    if let Some(unix) = opening.unix_time {
        write!(out, ", {unix} seconds after 1970")?;
    }
    writeln!(out)?;
    if let Some(joined) = capture.joined() {
        let Joined { age, phase, streams, received, sent, waiting, .. } = joined;
        write!(out, "the capture began when the connection was {:.3} s old, in phase {phase}", age.as_secs_f64())?;
        if !streams.is_empty() {
            write!(out, ", {}", streams.join(", "))?;
        }
        writeln!(out, "; until then {received} bytes received, {sent} sent, {waiting} waiting to be sent")?;
    }
    Ok(())
}
