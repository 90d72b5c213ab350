use std::env;
use std::io::{self, Write};
use std::path::{self, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anabranch_host::{
    Banner, CHECK, CaptureLimits, Captures, Options, REPLAY, ThreadOptions, config_of_header, init_log, on_stop_signal,
};
use anabranch_smol::Server;
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, value_parser};
use tracing::info;

use crate::check::Report;
use crate::reload::{self, Reloader};
use crate::settings::{self, Loaded, Schema, Sources};

const PROGRAM: &str = "anabranch";
const VERSION: &str = env!("CARGO_PKG_VERSION");
const CONFIG: &str = "config";
/// The subcommand that shows what can be set.
const SCHEMA: &str = "schema";
const EXAMPLE: &str = "example";
/// The file to check.
const FILE: &str = "FILE";

/// How long the end of the program waits for the last of its captures to be written.
const LAST_RECORDS: Duration = Duration::from_secs(2);

/// Reads the options, starts log and listeners, shows the addresses, serves until it is told to stop. Ends the process
/// itself for `--help` and for options that cannot be read.
pub(crate) fn main() -> ExitCode {
    let matches = command().get_matches();
    let done = match matches.subcommand() {
        Some((REPLAY, matches)) => anabranch_host::replay(matches, config_of_capture),
        Some((CHECK, matches)) => check(matches),
        Some((SCHEMA, matches)) => schema(matches),
        _ => serve(&matches).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        // Whether or not it can be read, the exit code says it too.
        let _ = writeln!(io::stderr(), "{PROGRAM}: {error}");
        ExitCode::FAILURE
    })
}

fn command() -> Command {
    let config = Arg::new(CONFIG)
        .long(CONFIG)
        .short('c')
        .value_name("FILE")
        .env("ANABRANCH_CONFIG")
        .value_parser(value_parser!(PathBuf))
        .help("Read this configuration file; read again at SIGHUP");
    // Left empty for "not set", like the variables of all options.
    let config = if env::var_os("ANABRANCH_CONFIG").is_some_and(|file| file.is_empty()) {
        config.env(clap::builder::Resettable::Reset)
    } else {
        config
    };
    let file =
        Arg::new(FILE).value_parser(value_parser!(PathBuf)).help("The configuration file").conflicts_with(CONFIG);
    let example = Arg::new(EXAMPLE)
        .long(EXAMPLE)
        .action(ArgAction::SetTrue)
        .help("Show a configuration file with all keys, their defaults and what they mean");
    let schema = Command::new(SCHEMA).about("Show what can be configured, as a JSON Schema").arg(example);
    let options = ThreadOptions::command(Options::command(Command::new(PROGRAM))).arg(config);
    anabranch_host::command(options, VERSION)
        .mut_subcommand(CHECK, |check| {
            check
                .about("Check the configuration; show what holds, where it comes from, and the memory it takes")
                .arg(file)
        })
        .subcommand(schema)
}

/// Where this process has its configuration from.
fn sources(matches: &ArgMatches) -> Sources {
    let options = Options::from_arg_matches(matches).unwrap_or_else(|error| error.exit());
    let threads = ThreadOptions::from_arg_matches(matches).unwrap_or_else(|error| error.exit()).threads;
    Sources {
        file: matches.get_one::<PathBuf>(CONFIG).cloned(),
        variables: Sources::environment(),
        flags: settings::flags(matches, &options, threads),
    }
}

fn check(matches: &ArgMatches) -> Result<ExitCode, String> {
    let mut sources = sources(matches);
    if let Some(file) = matches.get_one::<PathBuf>(FILE) {
        sources.file = Some(file.clone());
    }
    let loaded = sources.load().map_err(|problems| format!("the configuration is not valid\n{problems}"))?;
    // A reader that has seen enough closes the pipe.
    let _ = write!(io::stdout(), "{}", Report(&loaded));
    Ok(ExitCode::SUCCESS)
}

fn schema(matches: &ArgMatches) -> Result<ExitCode, String> {
    let text = if matches.get_flag(EXAMPLE) {
        settings::example()
    } else {
        serde_json::to_string_pretty(&Schema::document()).map_err(|error| error.to_string())? + "\n"
    };
    let _ = write!(io::stdout(), "{text}");
    Ok(ExitCode::SUCCESS)
}

/// Captures have the settings in their header; those of servers without a file have options.
fn config_of_capture(header: &str) -> Result<anabranch_core::conn::Config, String> {
    if header.lines().nth(1).is_none_or(|line| line.starts_with("--")) {
        config_of_header(header)
    } else {
        settings::of_capture(header)
    }
}

fn captures(loaded: &Loaded, program: &str) -> Result<Option<Captures>, String> {
    let capture = &loaded.settings.capture;
    if capture.folder.as_os_str().is_empty() {
        return Ok(None);
    }
    let limits = CaptureLimits { bytes: capture.file_size.0, files: capture.files, ..CaptureLimits::default() };
    let captures = Captures::start(&capture.folder, limits, &loaded.capture_header(program));
    captures.map(Some).map_err(|error| format!("cannot capture into {}: {error}", capture.folder.display()))
}

fn serve(matches: &ArgMatches) -> Result<(), String> {
    let no_signals = |error: io::Error| format!("cannot watch for signals: {error}");
    let reloads = reload::signals().map_err(no_signals)?;
    let mut sources = sources(matches);
    // It is found again wherever the process goes.
    sources.file = sources.file.map(|file| path::absolute(&file).unwrap_or(file));
    let loaded = sources.load().map_err(|problems| problems.to_string())?;
    let settings = &loaded.settings;
    // Until the end, so that the last lines are written.
    let log = init_log(&settings.log.level, settings.log.format.into())?;
    let program = &format!("{PROGRAM} {VERSION}");
    let captures = captures(&loaded, program)?;
    let mut builder = Server::builder().config(loaded.config.clone()).tcp(settings.tcp.options());
    if let Some(threads) = settings.server.threads.0 {
        builder = builder.threads(threads);
    }
    if let Some(captures) = &captures {
        builder = builder.captures(captures.clone());
    }
    for address in &settings.server.listen {
        builder = builder.listen(address.0);
    }
    let server = builder.build().map_err(|error| error.to_string())?;
    let reloader = Arc::new(Reloader {
        sources,
        handle: server.handle(),
        log: log.filter().clone(),
        captures: captures.clone(),
        program: program.clone(),
        current: Mutex::new(Arc::new(loaded)),
    });
    reload::on_signal(reloads, reloader).map_err(no_signals)?;
    let handle = server.handle();
    on_stop_signal(move || {
        info!("stopping");
        handle.stop();
    })
    .map_err(no_signals)?;
    // A server whose standard output is closed or full serves all the same.
    let _ = writeln!(io::stdout(), "{}", Banner { program, addresses: &server.addresses() });
    server.run();
    if let Some(captures) = captures {
        captures.flush(LAST_RECORDS);
    }
    info!("stopped");
    Ok(())
}
