//! The program `anabranch`: a live RTMP server.

mod api;
mod check;
mod cluster;
mod doctor;
mod examine;
mod health;
mod hooks;
mod identity;
mod lifecycle;
mod manual;
mod program;
mod record;
mod relays;
mod reload;
mod remote;
#[cfg(feature = "webrtc")]
mod rtc;
mod run;
mod segments;
mod settings;
mod sign;
mod terminal_text;
mod tls;
mod top;
mod web;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Such a process is to become a program of [[run]], and does nothing else before.
    run::launch::launch(std::env::args_os()).unwrap_or_else(program::main)
}
