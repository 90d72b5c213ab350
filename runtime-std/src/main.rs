//! The program `anabranch-std`: a live RTMP server on blocking sockets and threads.

use std::process::ExitCode;

use anabranch_host::Program;
use anabranch_std::{Handle, Server};

fn main() -> ExitCode {
    let program = Program {
        name: "anabranch-std",
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
