use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use anabranch_core::conn::Config;
use clap::{Command, FromArgMatches};
use tracing::info;

use crate::{Banner, Listen, Options, init_log, on_stop_signal};

/// A server program, the same for every runtime: reads the options, starts log and listeners, shows the addresses,
/// serves until SIGINT or SIGTERM. `S` is the runtime's server, `H` what stops it from another thread.
#[derive(Debug)]
pub struct Program<S, H> {
    /// The program's name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Makes a server without listeners.
    pub new: fn(Config) -> S,
    /// Adds a listener.
    pub listen: fn(S, Listen) -> io::Result<S>,
    /// The addresses the server listens on.
    pub addresses: fn(&S) -> Vec<SocketAddr>,
    /// What stops the server.
    pub handle: fn(&S) -> H,
    /// Stops the server.
    pub stop: fn(&H),
    /// Serves until it is stopped.
    pub run: fn(S),
}

impl<S, H: Send + 'static> Program<S, H> {
    /// The body of `main`. Ends the process itself for `--help` and for options that cannot be read.
    pub fn main(self) -> ExitCode {
        let matches = self.command().get_matches();
        let options = Options::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        let name = self.name;
        match self.serve(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // Whether or not it can be read, the exit code says it too.
                let _ = writeln!(io::stderr(), "{name}: {error}");
                ExitCode::FAILURE
            }
        }
    }

    fn command(&self) -> Command {
        // The options come first: they bring the description of their own type.
        Options::command(Command::new(self.name))
            .version(self.version)
            .about("A live RTMP server: publish with OBS or FFmpeg, watch with any RTMP player")
            .long_about(None)
            .max_term_width(100)
    }

    fn serve(self, options: &Options) -> Result<(), String> {
        // Until the end, so that the last lines are written.
        let _log = init_log(&options.log)?;
        let mut server = (self.new)(options.config());
        for address in &options.listen {
            server = (self.listen)(server, *address).map_err(|error| format!("cannot listen on {address}: {error}"))?;
        }
        let (handle, stop) = ((self.handle)(&server), self.stop);
        on_stop_signal(move || {
            info!("stopping");
            stop(&handle);
        })
        .map_err(|error| format!("cannot watch for signals: {error}"))?;
        let program = &format!("{} {}", self.name, self.version);
        // A server whose standard output is closed or full serves all the same.
        let _ = writeln!(io::stdout(), "{}", Banner { program, addresses: &(self.addresses)(&server) });
        (self.run)(server);
        info!("stopped");
        Ok(())
    }
}
