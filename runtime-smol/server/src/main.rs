//! The program `anabranch`: a live RTMP server.

mod api;
mod program;
mod settings;

use std::process::ExitCode;

fn main() -> ExitCode {
    program::main()
}
