//! The program `anabranch`: a live RTMP server.

mod api;
mod life;
mod paperwork;
mod program;
mod settings;
mod tls;

use std::process::ExitCode;

fn main() -> ExitCode {
    program::main()
}
