//! The program `anabranch`: a live RTMP server.

mod api;
mod check;
mod doctor;
mod examine;
mod health;
mod hooks;
mod identity;
mod lifecycle;
mod manual;
mod program;
mod record;
mod reload;
mod remote;
mod settings;
mod sign;
mod terminal_text;
mod tls;
mod top;

use std::process::ExitCode;

fn main() -> ExitCode {
    program::main()
}
