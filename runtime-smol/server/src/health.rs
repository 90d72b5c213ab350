//! `anabranch health`: asks the running server whether it is healthy, for Docker's HEALTHCHECK and for scripts.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::remote::Remote;
use crate::settings::Sources;

/// The subcommand.
pub(crate) const HEALTH: &str = "health";
const READY: &str = "ready";

/// The subcommand with its options.
pub(crate) fn command() -> Command {
    let ready = Arg::new(READY)
        .long(READY)
        .action(ArgAction::SetTrue)
        .help("Also require that the server takes new clients: one that drains is healthy, but not ready");
    Command::new(HEALTH)
        .about("Ask the running server whether it is healthy: the exit code is 0 if it is, and 1 otherwise")
        .args(Remote::arguments())
        .arg(ready)
}

/// Asks the server.
///
/// # Errors
/// The server does not answer, or nothing says where it is.
pub(crate) fn run(matches: &ArgMatches, sources: &Sources) -> Result<ExitCode, String> {
    let remote = Remote::of(matches, sources)?;
    let (path, word) = if matches.get_flag(READY) { ("/readyz", "ready") } else { ("/healthz", "ok") };
    let answer = remote.ask(path)?;
    let said = answer.body.trim();
    if answer.status != 200 || said != word {
        let said: String = said.chars().filter(|c| !c.is_control()).take(80).collect();
        return Err(format!("{}{path} answers with status {}: {said}", remote.url(), answer.status));
    }
    // Standard output may be closed.
    let _ = writeln!(io::stdout(), "{}", if word == "ok" { "healthy" } else { word });
    Ok(ExitCode::SUCCESS)
}
