//! The program `anabranch`: a live RTMP server.

use std::process::ExitCode;

use anabranch_host::{Banner, Options, init_log, on_stop_signal};
use anabranch_smol::Server;
use clap::Parser;
use tracing::info;

/// A live RTMP server: publish with OBS or FFmpeg, watch with any RTMP player.
#[derive(Debug, Parser)]
#[command(name = "anabranch", version, max_term_width = 100)]
struct Program {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    let Program { options } = Program::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("anabranch: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    init_log(&options.log)?;
    let mut server = Server::new(options.config());
    for address in &options.listen {
        server = server.listen(*address).map_err(|error| format!("cannot listen on {address}: {error}"))?;
    }
    let handle = server.handle();
    on_stop_signal(move || {
        info!("stopping");
        handle.stop();
    })
    .map_err(|error| format!("cannot watch for signals: {error}"))?;
    let program = concat!("anabranch ", env!("CARGO_PKG_VERSION"));
    println!("{}", Banner { program, addresses: &server.addresses() });
    server.run();
    info!("stopped");
    Ok(())
}
