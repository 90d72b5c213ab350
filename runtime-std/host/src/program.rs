use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZero;
use std::process::ExitCode;

use clap::{ArgMatches, Command, FromArgMatches};
use tracing::info;

use crate::options::ThreadOptions;
use crate::{Banner, Builder, Handle, Options, init_log, on_stop_signal};

/// A server of some runtime: what a program makes of it, and what is written once for all of them.
pub trait Serve: Sized {
    /// The name of the runtime's program.
    const PROGRAM: &'static str;
    /// Its version.
    const VERSION: &'static str;
    /// Whether the number of threads that serve connections can be chosen.
    const THREADS: bool;

    /// A builder of such servers.
    fn builder() -> Builder<Self>;

    /// The addresses it listens on, with the ports the system chose for port 0.
    fn addresses(&self) -> Vec<SocketAddr>;

    /// The running server, from elsewhere in the program.
    fn handle(&self) -> Handle;

    /// Serves until [`Handle::stop`] is called; then returns within 3 seconds.
    fn run(self);
}

/// The body of a server program's `main`: reads the options, starts log and listeners, shows the addresses, serves until
/// SIGINT or SIGTERM. Ends the process itself for `--help` and for options that cannot be read.
pub fn main<S: Serve>() -> ExitCode {
    let matches = command::<S>().get_matches();
    let options = Options::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match serve::<S>(&options, threads::<S>(&matches)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whether or not it can be read, the exit code says it too.
            let _ = writeln!(io::stderr(), "{}: {error}", S::PROGRAM);
            ExitCode::FAILURE
        }
    }
}

fn command<S: Serve>() -> Command {
    // The options come first: they bring the description of their own type.
    let command = Options::command(Command::new(S::PROGRAM));
    let command = if S::THREADS { ThreadOptions::command(command) } else { command };
    command
        .version(S::VERSION)
        .about("A live RTMP server: publish with OBS or FFmpeg, watch with any RTMP player")
        .long_about(None)
        .max_term_width(100)
}

fn threads<S: Serve>(matches: &ArgMatches) -> Option<NonZero<usize>> {
    let options = S::THREADS.then(|| ThreadOptions::from_arg_matches(matches));
    options.and_then(|options| options.unwrap_or_else(|error| error.exit()).threads)
}

fn serve<S: Serve>(options: &Options, threads: Option<NonZero<usize>>) -> Result<(), String> {
    // Until the end, so that the last lines are written.
    let _log = init_log(&options.log)?;
    let mut builder = S::builder().config(options.config()).tcp(options.tcp());
    if let Some(threads) = threads {
        builder = builder.threads(threads);
    }
    for address in &options.listen {
        builder = builder.listen(*address);
    }
    let server = builder.build().map_err(|error| error.to_string())?;
    let handle = server.handle();
    on_stop_signal(move || {
        info!("stopping");
        handle.stop();
    })
    .map_err(|error| format!("cannot watch for signals: {error}"))?;
    let program = &format!("{} {}", S::PROGRAM, S::VERSION);
    // A server whose standard output is closed or full serves all the same.
    let _ = writeln!(io::stdout(), "{}", Banner { program, addresses: &server.addresses() });
    server.run();
    info!("stopped");
    Ok(())
}
