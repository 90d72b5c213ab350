//! The program `anabranch`: a live RTMP server.

mod api;
mod check;
mod hooks;
mod identity;
mod lifecycle;
mod manual;
mod program;
mod record;
mod reload;
mod settings;
mod sign;
mod tls;

use std::process::ExitCode;

fn main() -> ExitCode {
    program::main()
}
