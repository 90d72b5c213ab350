use std::env;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{self, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anabranch_core::conn::{Accepts, VhostSnapshot};
use anabranch_host::{Listen, raise_file_limit};
use anabranch_program::{
    Banner, CHECK, CaptureFolder, CaptureLimits, ChosenCaptures, EXPLAIN, Options, Protection, REPLAY, ThreadOptions,
    UnknownVariable, config_of_header, init_log, watch_memory,
};
use anabranch_smol::{Carrier, Entrance, Server};
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, value_parser};
use tracing::{info, warn};

use crate::api::{self, Capturing, Entrances, InForce, Reload, Workers};
use crate::check::Report;
use crate::cluster::{Directory, Load};
use crate::doctor::{self, DOCTOR};
use crate::examine::{Examined, Purpose};
use crate::health::{self, HEALTH};
use crate::hooks::HttpHooks;
use crate::identity::Identity;
use crate::lifecycle::{Signals, inherited_listeners, ready};
use crate::manual::{self, COMPLETIONS, MAN, PAGE, SHELL};
use crate::record::Recorder;
use crate::record::repair::{self, REPAIR};
use crate::relays;
use crate::reload::Reloader;
use crate::run::Runner;
use crate::segments::Outlets;
use crate::settings::written::Of;
use crate::settings::{self, Loaded, Schema, Sources};
use crate::sign::{self, SIGN};
use crate::tls::TlsListeners;
use crate::top::{self, TOP};
use crate::web::{Media, Site};

const PROGRAM: &str = "anabranch";
/// The version, with the commit if it is known.
const VERSION: &str = env!("ANABRANCH_VERSION");
const CONFIG: &str = "config";
/// The subcommand that shows all settings.
const SCHEMA: &str = "schema";
const EXAMPLE: &str = "example";
/// The file to check.
const FILE: &str = "FILE";

/// How long the program waits at its end until captures and recordings are written.
const LAST_RECORDS: Duration = Duration::from_secs(2);
/// How long it waits for segments that are to be stored.
const LAST_SEGMENTS: Duration = Duration::from_secs(5);
/// How long the program waits at its end until the directory has its names back.
const LAST_NAMES: Duration = Duration::from_secs(1);
/// How long the program waits at its end until the last notices to back ends are delivered.
const LAST_CALLS: Duration = Duration::from_secs(5);
/// How long the program waits at its end until the programs of `[[run]]` have ended, before it kills them.
const LAST_PROGRAMS: Duration = Duration::from_secs(5);

/// Reads the options, starts log and listeners, shows the addresses, and serves until it is stopped. Ends the process
/// itself for `--help` and for options that are not valid.
pub(crate) fn main() -> ExitCode {
    let matches = command().get_matches();
    let done = match matches.subcommand() {
        Some((REPLAY, matches)) => anabranch_program::replay(matches, config_of_capture),
        Some((CHECK, matches)) => check(matches),
        Some((EXPLAIN, matches)) => anabranch_program::explain(matches),
        Some((DOCTOR, matches)) => doctor::run(matches, &sources_with_file(matches), &unknown_variables()),
        Some((TOP, matches)) => top::run(matches, &of_subcommand(matches)),
        Some((HEALTH, matches)) => health::run(matches, &of_subcommand(matches)),
        Some((SCHEMA, matches)) => schema(matches),
        Some((SIGN, matches)) => load(matches).and_then(|loaded| sign::run(matches, &loaded)),
        Some((REPAIR, matches)) => repair::run(matches),
        Some((COMPLETIONS, matches)) => {
            if let Some(shell) = matches.get_one(SHELL) {
                manual::completions(command(), *shell, &mut io::stdout());
            }
            Ok(ExitCode::SUCCESS)
        }
        Some((MAN, matches)) => {
            let printed = manual::page(command(), matches.get_one(PAGE), &mut io::stdout());
            printed.map(|()| ExitCode::SUCCESS).map_err(|error| error.to_string())
        }
        _ => serve(&matches).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        // If standard error is closed, the exit code still shows the failure.
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
        .help("Read this configuration file, and read it again at SIGHUP");
    // As with the variables of all options, empty means not set.
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
        .help("Show a configuration file with all keys, their defaults and descriptions");
    let schema = Command::new(SCHEMA).about("Show all settings as a JSON Schema").arg(example);
    let options = ThreadOptions::command(Options::command(Command::new(PROGRAM))).arg(config.clone());
    let doctor = doctor::command(options.clone()).arg(file.clone());
    let command = anabranch_program::command(options, VERSION)
        .mut_subcommand(CHECK, |check| {
            check
                .about(
                    "Check the configuration; show the settings, where they come from, and the memory that they allow",
                )
                .arg(file)
        })
        .subcommand(schema)
        .subcommand(sign::command().arg(config.clone()))
        .subcommand(repair::command())
        .subcommand(doctor)
        .subcommand(top::command().arg(config.clone()))
        .subcommand(health::command().arg(config));
    manual::add_to(command)
}

/// The sources of this process's configuration.
fn sources(matches: &ArgMatches) -> Sources {
    let options = Options::from_arg_matches(matches).unwrap_or_else(|error| error.exit());
    let threads = ThreadOptions::from_arg_matches(matches).unwrap_or_else(|error| error.exit()).threads;
    Sources {
        file: matches.get_one::<PathBuf>(CONFIG).cloned(),
        variables: Sources::environment(),
        flags: settings::flags(matches, &options, threads),
    }
}

/// The sources of the configuration for a subcommand without the server's options.
fn of_subcommand(matches: &ArgMatches) -> Sources {
    let file = matches.get_one::<PathBuf>(CONFIG).cloned();
    Sources { file, variables: Sources::environment(), flags: Vec::new() }
}

/// Loads the configuration for a subcommand without the server's options.
fn load(matches: &ArgMatches) -> Result<Loaded, String> {
    let loaded = of_subcommand(matches).load();
    loaded.map_err(|problems| format!("the configuration is not valid\n{problems}"))
}

/// Variables of the environment that look like this program's, and mean nothing to it.
fn unknown_variables() -> Vec<UnknownVariable> {
    let variables: Vec<_> = env::vars_os().collect();
    let variables = variables.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()));
    anabranch_program::unknown_variables(&command(), &settings::names_of_keys(&Schema::inlined()), variables)
}

/// The sources for a subcommand with the server's options that also takes the file without an option.
fn sources_with_file(matches: &ArgMatches) -> Sources {
    let sources = sources(matches);
    Sources { file: matches.get_one::<PathBuf>(FILE).cloned().or(sources.file), ..sources }
}

fn check(matches: &ArgMatches) -> Result<ExitCode, String> {
    let sources = sources_with_file(matches);
    let (loaded, advice) = Examined::of(&sources, &unknown_variables(), Purpose::Check).whole()?;
    let report = Report { advice, loaded: &loaded };
    // An error means that the reader has closed the pipe, which is fine.
    let _ = write!(io::stdout(), "{report}");
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

/// Reads the configuration in a capture's header. Captures of `anabranch-std`, and older ones, have options there.
fn config_of_capture(header: &str) -> Result<anabranch_core::conn::Config, String> {
    if header.lines().nth(1).is_none_or(|line| line.starts_with("--")) {
        config_of_header(header)
    } else {
        settings::of_capture(header)
    }
}

fn captures(loaded: &Loaded, program: &str) -> Result<Capturing, String> {
    let capture = &loaded.settings.capture;
    if capture.folder.as_os_str().is_empty() {
        return Ok(Capturing::Chosen(ChosenCaptures::new(loaded.chosen_folder(program))));
    }
    let limits = CaptureLimits {
        bytes: capture.file_size.0,
        files: capture.files,
        min_free: capture.min_free.0,
        ..CaptureLimits::default()
    };
    let captures = CaptureFolder::start(&capture.folder, limits, &loaded.capture_header(program));
    captures.map(Capturing::All).map_err(|error| format!("cannot capture into {}: {error}", capture.folder.display()))
}

fn serve(matches: &ArgMatches) -> Result<(), String> {
    // From here on signals do not end the process. They wait until `follow` handles them.
    let signals = Signals::catch()?;
    let mut sources = sources(matches);
    // An absolute path is found even if the working directory changes.
    sources.file = sources.file.map(|file| path::absolute(&file).unwrap_or(file));
    let inherited = inherited_listeners()?;
    let purpose = Purpose::Start { inherits: !inherited.is_empty() };
    let (loaded, warnings) = Examined::of(&sources, &unknown_variables(), purpose).whole()?;
    let settings = &loaded.settings;
    // Kept until the end, so that the last lines are written.
    let log_format = settings.log.format.into();
    let log = init_log(&settings.log.level, log_format)?;
    warnings.iter().for_each(|line| warn!(event = "advice", "{line}"));
    raise_file_limit();
    let program = &format!("{PROGRAM} {VERSION}");
    let captures = captures(&loaded, program)?;
    let identity = Identity::new(Some(settings.server.id.as_str()).filter(|id| !id.is_empty()));
    let hooks = HttpHooks::new(identity.clone(), &loaded.of_streams(|settings| &settings.hooks))?;
    let recorder = Recorder::new(&loaded.of_streams(|settings| &settings.record))?;
    let outlets = Outlets::new(&loaded.of_streams(|settings| &settings.hls))?;
    let runner = Runner::new(&loaded)?;
    let (web_settings, has_https) = (&settings.web, !settings.web.https.is_empty());
    let tls = (settings.tls.is_on() || has_https).then(|| TlsListeners::new(&settings.tls)).transpose()?;
    let client_tls = relays::client(&settings.relay)?;
    let mut builder = Server::builder()
        .config(loaded.config.clone())
        .tcp(settings.tcp.options())
        // The hooks of this configuration may be none, and those of the next one some.
        .hooks_if_asked(hooks.clone())
        .log_addresses(settings.log.addresses.into());
    if let Some(threads) = settings.server.threads.0 {
        builder = builder.threads(threads);
    }
    builder = match &captures {
        Capturing::All(captures) => builder.captures(captures.clone()),
        Capturing::Chosen(captures) => builder.captures(captures.clone()),
    };
    let carrier = tls.as_ref().map_or(Carrier::Plain, TlsListeners::on_rtmp_ports);
    let accepts = if web_settings.on_rtmp_ports { Accepts::Either } else { Accepts::Rtmp };
    let entrance = Entrance { carrier, accepts };
    let plain = if inherited.is_empty() { settings.server.listen.len() } else { inherited.len() };
    let any = |index| inherited.is_empty() && matches!(settings.server.listen.get(index), Some(Of(Listen::Any(_))));
    let any: Vec<bool> = (0..plain).map(any).collect();
    if inherited.is_empty() {
        for address in &settings.server.listen {
            builder = builder.listen_as(address.0, entrance.clone());
        }
    }
    for listener in inherited {
        builder = builder.listener_as(listener, entrance.clone());
    }
    for (address, carrier) in tls.iter().flat_map(TlsListeners::addresses) {
        builder = builder.listen_as(address, Entrance { carrier, accepts });
    }
    let (site, calls) = Site::new(settings.api.has_credentials(), settings.rtc.has_rooms(web_settings));
    #[cfg(feature = "webrtc")]
    let elsewhere = site.elsewhere();
    builder = builder.web(site).listen_for_web(&web_settings.listen.0, &Entrance::web(Carrier::Plain));
    let https: Vec<u16> = web_settings.https.iter().map(|Of(address)| address.port()).collect();
    for Of(address) in &web_settings.https {
        let carrier = tls.as_ref().map_or(Carrier::Plain, TlsListeners::carrier);
        builder = builder.listen_as(*address, Entrance::web(carrier));
    }
    if let Some(client_tls) = client_tls {
        builder = builder.client_tls(client_tls);
    }
    #[cfg(feature = "webrtc")]
    let node = settings.cluster.node_name();
    #[cfg(feature = "webrtc")]
    if web_settings.is_on() {
        // Without HTTP nothing takes an offer.
        builder = builder.rtc(crate::rtc::options(&settings.rtc, &node));
    }
    let server = builder.build().map_err(|error| error.to_string())?;
    watch_memory(server.handle()).map_err(|error| format!("cannot watch the memory: {error}"))?;
    Protection { config: &loaded.config, memory: settings.limits.memory.0 }.log();
    if let Capturing::Chosen(captures) = &captures {
        captures.start(server.handle());
    }
    hooks.start(&server.handle());
    let told = hooks.clone();
    recorder.start(&server.handle(), move |file| told.recorded(file));
    let told = hooks.clone();
    outlets.start(&server.handle(), move |segment| told.segment(segment));
    // TLS on the same ports is optional for clients.
    // Where it listens on every address, that is reached by IPv4 as well.
    let addresses = server.addresses().into_iter().zip(any).map(|(address, any)| match address.ip() {
        ip if any && ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
        _ => address,
    });
    server.handle().play_fallbacks().map_err(|error| format!("cannot play fallbacks: {error}"))?;
    runner.start(&server.handle(), &addresses.collect::<Vec<_>>());
    let directory = {
        let handle = server.handle();
        let status = move || {
            let vhosts = handle.vhosts();
            let sum = |count: fn(&VhostSnapshot) -> usize| vhosts.iter().map(count).sum::<usize>() as u64;
            let load = Load { streams: sum(|vhost| vhost.publishers), players: sum(|vhost| vhost.players) };
            (load, handle.is_leaving())
        };
        let relays = Some(server.handle().relay_core());
        // Servers of a cluster reach each other in their network, where HTTP has no TLS.
        let web = server.web_addresses().iter().map(SocketAddr::port).find(|port| !https.contains(port));
        Directory::start(&settings.cluster, env!("CARGO_PKG_VERSION"), web, relays, status)?
    };
    #[cfg(feature = "webrtc")]
    if let Some(directory) = &directory {
        elsewhere.start(directory)?;
    }
    #[cfg(feature = "webrtc")]
    let rtc = crate::rtc::Rtc::start(server.handle(), &settings.rtc, &node)?;
    let has_rooms = settings.rtc.has_rooms(&settings.web);
    let (api_settings, srs_lookup) = (settings.api.clone(), settings.cluster.srs_lookup);
    let reloader = Arc::new(Reloader {
        sources,
        handle: server.handle(),
        log: log.filter().clone(),
        captures: captures.clone(),
        hooks: hooks.clone(),
        recorder: recorder.clone(),
        outlets: outlets.clone(),
        runner: runner.clone(),
        #[cfg(feature = "webrtc")]
        rtc,
        tls,
        program: program.clone(),
        current: Mutex::new(Arc::new(loaded)),
    });
    let by_api = reloader.clone();
    let reload: Reload = Arc::new(move || by_api.reload_for_api());
    let workers = Workers {
        hooks: hooks.clone(),
        recorder: recorder.clone(),
        outlets: outlets.clone(),
        runner: runner.clone(),
        captures: captures.clone(),
        directory: directory.clone(),
        srs_lookup,
    };
    let shown = reloader.clone();
    let in_force: InForce = Arc::new(move || shown.current().values());
    let media = server
        .web_addresses()
        .first()
        .map(|address| Media { port: address.port(), is_secure: https.contains(&address.port()) });
    let entrances = Entrances { calls, media, has_rooms };
    let api = api::start(&api_settings, identity, server.handle(), Some(reload), Some(in_force), workers, entrances)?;
    signals.follow(server.handle(), reloader, directory.clone())?;
    let (addresses, web) = (&server.addresses(), &server.web_addresses());
    #[cfg(feature = "webrtc")]
    let udp = server.handle().rtc_addresses().udp;
    #[cfg(not(feature = "webrtc"))]
    let udp = Vec::new();
    let banner = Banner { program: PROGRAM, version: VERSION, addresses, web, rtc: &udp, page: Some("/watch/"), api };
    banner.show(log_format);
    ready();
    server.run();
    runner.begin_stop();
    if let Some(directory) = directory {
        directory.leave(LAST_NAMES);
    }
    if !recorder.finish(LAST_RECORDS) {
        warn!(event = "recordings_cut", "some recordings are not complete: the disk is too slow");
    }
    if !outlets.finish(LAST_SEGMENTS) {
        warn!(event = "segments_cut", "some segments are not stored: the folder or the store is too slow");
    }
    let untold = hooks.flush(LAST_CALLS);
    if untold > 0 {
        warn!(event = "notices_lost", calls = untold, "back ends are too slow: {untold} calls to them were not made");
    }
    let killed = runner.finish(LAST_PROGRAMS);
    if killed > 0 {
        warn!(
            event = "run_killed",
            count = killed,
            "{killed} programs are killed: they have not ended with the server"
        );
    }
    captures.flush(LAST_RECORDS);
    info!(event = "stopped", "stopped");
    Ok(())
}
