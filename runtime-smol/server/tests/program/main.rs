//! The program as its operators run it: a process with its configuration, log, API, metrics, hooks and recordings, and
//! RTMP clients on real sockets.

mod api;
mod backup;
mod cluster;
mod configuration;
mod evening;
mod hooks;
mod metrics;
mod migration;
mod names;
mod night;
mod operating;
mod record;
mod relays;
mod rtc;
mod run;
mod segment_stores;
mod segments;

use anabranch_tests::program::{Launch, Program};

/// The program, on a free port and on two threads.
fn launch() -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_anabranch")).on_a_free_port().args(["--threads", "2"])
}

/// The program with these settings, running.
fn start(settings: &str) -> Program {
    launch().settings(settings).start()
}

/// The program with the API on a free port and these settings of the section `api`, running.
fn start_with_api(settings: &str) -> Program {
    start(&format!("[api]\nlisten = '127.0.0.1:0'\n{settings}"))
}
