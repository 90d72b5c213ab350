//! The program `anabranch`: a live RTMP server.

mod hooks;
mod program;
mod record;
mod settings;
mod time_span;

use std::process::ExitCode;

fn main() -> ExitCode {
    program::main()
}
