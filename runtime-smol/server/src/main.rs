//! The program `anabranch`: a live RTMP server.

mod api;
mod hooks;
mod life;
mod paperwork;
mod program;
mod record;
mod settings;
mod time_span;
mod tls;

use std::process::ExitCode;

fn main() -> ExitCode {
    program::main()
}
