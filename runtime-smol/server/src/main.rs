//! The program `anabranch`: a live RTMP server.

mod check;
mod program;
mod reload;
mod settings;

use std::process::ExitCode;

fn main() -> ExitCode {
    program::main()
}
