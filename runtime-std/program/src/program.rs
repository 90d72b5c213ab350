use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anabranch_core::conn::Config;
use anabranch_host::{Carrier, Entrance, Serve, raise_file_limit};
#[cfg(feature = "webrtc")]
use anabranch_host::{RtcOptions, WebListen};
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, value_parser};
use tracing::{info, warn};

use crate::capture;
use crate::check::{CheckReport, Findings};
use crate::explain::{EXPLAIN, explain};
use crate::{Banner, Options, Protection, init_log, on_stop_signal, watch_memory};

/// The subcommand that runs a capture again, and its arguments.
pub const REPLAY: &str = "replay";
/// The subcommand that shows the settings and memory that the options result in.
pub const CHECK: &str = "check";
const FILE: &str = "file";
const ALL: &str = "all";

/// How long the end of the program waits for the last of its captures to be written.
const LAST_RECORDS: Duration = Duration::from_secs(2);

/// The body of a server program's `main`: reads the options, starts the log and the listeners, prints the addresses,
/// and serves until SIGINT or SIGTERM. It exits the process for `--help` and for invalid options.
pub fn main<S: Serve>() -> ExitCode {
    // The options come first: they bring the description of their own type.
    let command = command(Options::command(Command::new(S::PROGRAM)), S::VERSION);
    let matches = command.clone().get_matches();
    let done = match matches.subcommand() {
        Some((REPLAY, matches)) => replay(matches, config_of_header),
        Some((CHECK, matches)) => check(matches, &command),
        Some((EXPLAIN, matches)) => explain(matches),
        _ => {
            let options = Options::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
            serve::<S>(&options, &command).map(|()| ExitCode::SUCCESS)
        }
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            // If this cannot be written, the exit code still reports the failure.
            let _ = writeln!(io::stderr(), "{}: {error}", S::PROGRAM);
            ExitCode::FAILURE
        }
    }
}

/// A server program of these options: with its description, and the subcommands [`REPLAY`] and [`CHECK`].
pub fn command(options: Command, version: &'static str) -> Command {
    let check = options.clone().name(CHECK).about("Check the options and show what they mean: settings and memory");
    options
        .version(version)
        .about("A live RTMP server: publish with OBS or FFmpeg, watch with any RTMP player")
        .long_about(None)
        .max_term_width(100)
        // Options in front of a subcommand would mean nothing to it.
        .args_conflicts_with_subcommands(true)
        .subcommand(replay_command())
        .subcommand(check.max_term_width(100))
        .subcommand(crate::explain::command())
}

fn replay_command() -> Command {
    let file = Arg::new(FILE)
        .value_name("FILE")
        .required(true)
        .value_parser(value_parser!(PathBuf))
        .help("A file that --capture has made");
    let all = Arg::new(ALL)
        .long(ALL)
        .action(ArgAction::SetTrue)
        .help("Show every message, read, deadline and wake-up instead of summing up media");
    Command::new(REPLAY)
        .about("Run a captured connection again, and show its messages, the server's decisions and why it closed")
        .long_about(
            "Run a captured connection again, and show its messages, the server's decisions and why it closed.\n\nThe \
             exit code is 0 if the server does the same again, to the byte, and 1 if it does not.",
        )
        .args([file, all])
}

/// Shows what the options mean, if a server with them would start.
///
/// # Errors
/// What keeps it from starting: all faults, one a line.
fn check(matches: &ArgMatches, command: &Command) -> Result<ExitCode, String> {
    let options = Options::from_arg_matches(matches).unwrap_or_else(|error| error.exit());
    let found = Findings::of(&options, command, false);
    for line in &found.warnings {
        let _ = writeln!(io::stderr(), "warning: {line}");
    }
    found.or_faults()?;
    let report = CheckReport { options: &options };
    // A reader that has seen enough closes the pipe.
    let _ = writeln!(io::stdout(), "{report}");
    Ok(ExitCode::SUCCESS)
}

/// Runs a captured connection again.
///
/// The configuration is what `config_of` makes of the capture's header.
///
/// # Errors
/// A file that is no capture or cannot be read.
pub fn replay(
    matches: &ArgMatches,
    config_of: impl FnOnce(&str) -> Result<Config, String>,
) -> Result<ExitCode, String> {
    let file = matches.get_one::<PathBuf>(FILE).ok_or("no file")?;
    let same = capture::replay(file, matches.get_flag(ALL), config_of, &mut io::stdout().lock())?;
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The configuration of a capture whose header has [`Options`].
///
/// # Errors
/// Options that this program does not know.
pub fn config_of_header(header: &str) -> Result<Config, String> {
    Options::of_header(header).map(|options| options.config())
}

fn serve<S: Serve>(options: &Options, command: &Command) -> Result<(), String> {
    let found = Findings::of(options, command, true);
    found.or_faults()?;
    // Kept until the end, so that the last lines are written.
    let _log = init_log(&options.log, options.log_format)?;
    found.warnings.iter().for_each(|line| warn!(event = "advice", "{line}"));
    raise_file_limit();
    let program = &format!("{} {}", S::PROGRAM, S::VERSION);
    let captures = options.captures(program).map_err(|error| error.to_string())?;
    let config = options.config();
    let mut builder =
        S::builder().config(config.clone()).tcp(options.tcp()).log_addresses(options.log_addresses.into());
    if let Some(captures) = &captures {
        builder = builder.captures(captures.clone());
    }
    for address in &options.listen {
        builder = builder.listen(*address);
    }
    builder = builder.listen_for_web(&options.web, &Entrance::web(Carrier::Plain));
    #[cfg(feature = "webrtc")]
    if options.web != WebListen::Off {
        // Without HTTP nothing takes an offer.
        builder = builder.rtc(RtcOptions { listen: options.rtc.clone(), ..RtcOptions::default() });
    }
    let server = builder.build().map_err(|error| error.to_string())?;
    let handle = server.handle();
    watch_memory(handle.clone()).map_err(|error| format!("cannot watch the memory: {error}"))?;
    Protection { config: &config, memory: options.memory }.log();
    on_stop_signal(move || {
        info!(event = "stopping", "stopping");
        handle.stop();
    })
    .map_err(|error| format!("cannot watch for signals: {error}"))?;
    let (addresses, web) = (&server.addresses(), &server.web_addresses());
    #[cfg(feature = "webrtc")]
    let udp = server.handle().rtc_addresses().udp;
    #[cfg(not(feature = "webrtc"))]
    let udp = Vec::new();
    let banner = Banner { program: S::PROGRAM, version: S::VERSION, addresses, web, rtc: &udp, page: None, api: None };
    banner.show(options.log_format);
    server.run();
    if let Some(captures) = captures {
        captures.flush(LAST_RECORDS);
    }
    info!(event = "stopped", "stopped");
    Ok(())
}
