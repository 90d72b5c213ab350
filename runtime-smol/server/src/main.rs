//! The program `anabranch`: a live RTMP server.

mod hooks;
mod program;
mod settings;

use std::process::ExitCode;

fn main() -> ExitCode {
    program::main()
}
