//! The program `anabranch`: a live RTMP server.

use std::process::ExitCode;

use anabranch_host::Program;
use anabranch_smol::{Handle, Server};

fn main() -> ExitCode {
    let program = Program {
        name: "anabranch",
        version: env!("CARGO_PKG_VERSION"),
        new: Server::new,
        listen: Server::listen,
        addresses: Server::addresses,
        handle: Server::handle,
        stop: Handle::stop,
        run: Server::run,
    };
    program.main()
}
