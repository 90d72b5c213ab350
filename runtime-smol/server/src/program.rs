use std::collections::HashMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anabranch_host::{Banner, CHECK, Options, REPLAY, ThreadOptions, init_log};
use anabranch_smol::{Carrier, Server};
use clap::{Arg, ArgMatches, Command, FromArgMatches, value_parser};
use tracing::{info, warn};

use crate::api;
use crate::hooks::{HttpHooks, Identity};
use crate::life::{follow_signals, inherited_listeners, ready, reloaded, reloading};
use crate::paperwork::{self, COMPLETIONS, MAN, SHELL};
use crate::record::Recorder;
use crate::record::repair::{self, REPAIR};
use crate::settings::Settings;
use crate::tls::TlsListeners;

const PROGRAM: &str = "anabranch";
/// With the commit, if it is known.
const VERSION: &str = env!("ANABRANCH_VERSION");
const CONFIG: &str = "config";

/// How long the end of the program waits for the last of its captures and recordings to be written.
const LAST_RECORDS: Duration = Duration::from_secs(2);

/// How long the end of the program waits for back ends to be told of it.
const LAST_CALLS: Duration = Duration::from_secs(5);

/// Reads the options, starts log and listeners, shows the addresses, serves until it is told to stop. Ends the process
/// itself for `--help` and for options that cannot be read.
pub(crate) fn main() -> ExitCode {
    let matches = command().get_matches();
    let done = match matches.subcommand() {
        Some((REPLAY, matches)) => anabranch_host::replay(matches),
        Some((CHECK, matches)) => anabranch_host::check(matches, threads(matches)),
        Some((COMPLETIONS, matches)) => {
            if let Some(shell) = matches.get_one(SHELL) {
                paperwork::completions(command(), *shell, &mut io::stdout());
            }
            Ok(ExitCode::SUCCESS)
        }
        Some((MAN, _)) => {
            let printed = paperwork::manual(command(), &mut io::stdout());
            printed.map(|()| ExitCode::SUCCESS).map_err(|error| error.to_string())
        }
        Some((REPAIR, matches)) => repair::run(matches),
        _ => serve(&matches).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        // Whether or not it can be read, the exit code says it too.
        let _ = writeln!(io::stderr(), "{PROGRAM}: {error}");
        ExitCode::FAILURE
    })
}

fn command() -> Command {
    let file = Arg::new(CONFIG)
        .long(CONFIG)
        .short('c')
        .value_name("FILE")
        .env("ANABRANCH_CONFIG")
        .value_parser(value_parser!(PathBuf))
        .help("Read this configuration file");
    let options = ThreadOptions::command(Options::command(Command::new(PROGRAM)));
    paperwork::add_to(anabranch_host::command(options, VERSION).arg(file).subcommand(repair::command()))
}

fn threads(matches: &ArgMatches) -> Option<std::num::NonZero<usize>> {
    ThreadOptions::from_arg_matches(matches).unwrap_or_else(|error| error.exit()).threads
}

fn serve(matches: &ArgMatches) -> Result<(), String> {
    let options = Options::from_arg_matches(matches).unwrap_or_else(|error| error.exit());
    let settings = match matches.get_one::<PathBuf>(CONFIG) {
        Some(file) => Settings::read(file)?,
        None => Settings::default(),
    };
    // Until the end, so that the last lines are written.
    let _log = init_log(&options.log)?;
    let program = &format!("{PROGRAM} {VERSION}");
    let captures = options.captures(program).map_err(|error| error.to_string())?;
    let mut config = options.config();
    settings.hooks.apply(&mut config.defaults);
    let hooks = HttpHooks::new(Identity::new(settings.server_id.as_deref()), &settings.hooks, &HashMap::new())?;
    let asks = config.defaults.asks.clone();
    let mut builder = Server::builder().config(config).tcp(options.tcp());
    if asks.connect || asks.publish || asks.play {
        builder = builder.hooks(hooks.clone());
    }
    if let Some(threads) = threads(matches) {
        builder = builder.threads(threads);
    }
    if let Some(captures) = &captures {
        builder = builder.captures(captures.clone());
    }
    let tls = settings.tls.is_on().then(|| TlsListeners::new(&settings.tls)).transpose()?;
    let carrier = tls.as_ref().map_or(Carrier::Plain, TlsListeners::on_rtmp_ports);
    let inherited = inherited_listeners()?;
    if inherited.is_empty() {
        for address in &options.listen {
            builder = builder.listen_as(*address, carrier.clone());
        }
    }
    for listener in inherited {
        builder = builder.listener_as(listener, carrier.clone());
    }
    for (address, carrier) in tls.iter().flat_map(TlsListeners::addresses) {
        builder = builder.listen_as(address, carrier);
    }
    let server = builder.build().map_err(|error| error.to_string())?;
    let api = api::start(&settings.api, server.handle(), None)?;
    let handle = server.handle();
    let recorder = Recorder::new(&settings.record, &HashMap::new());
    recorder.start(&handle);
    let drain = settings.shutdown.drain();
    let reload = || {
        reloading();
        reloaded("there is nothing to reload yet");
    };
    follow_signals(handle, move || drain, reload)?;
    // A server whose standard output is closed or full serves all the same.
    let _ = writeln!(io::stdout(), "{}", Banner { program, addresses: &server.addresses() });
    if let Some(address) = api {
        let _ = writeln!(io::stdout(), "  API            http://{address}/api/v1");
    }
    ready();
    server.run();
    if !recorder.finish(LAST_RECORDS) {
        warn!("not all recordings are complete: the disk takes too long");
    }
    if !hooks.flush(LAST_CALLS) {
        warn!("back ends are not told of all that is over: they take too long");
    }
    if let Some(captures) = captures {
        captures.flush(LAST_RECORDS);
    }
    info!("stopped");
    Ok(())
}
