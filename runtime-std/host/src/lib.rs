//! What every Anabranch server has of its machine, whatever runtime serves its connections: how it is built, the list of
//! its connections, hooks, handles, streams that the program itself publishes and plays, listening sockets; and for the
//! programs command line options, the log and its lines, signals.
//!
//! The crates of the runtimes show what of it their users need.

#![forbid(unsafe_code)]

mod accept;
mod banner;
mod builder;
mod capture;
mod carrier;
mod check;
mod files;
mod handle;
mod hooks;
mod host;
mod lines;
mod listen;
mod local;
mod log;
mod log_filter;
mod log_queue;
mod log_repeats;
mod log_text;
mod masked;
mod memory;
mod options;
mod program;
mod signals;
mod strangers;
mod totals;
mod watch;

pub use accept::{AcceptErrors, interrupt_accept};
pub use banner::Banner;
pub use builder::{Builder, Setup};
pub use capture::{CaptureLimits, Captures};
pub use carrier::Carrier;
pub use check::Worst;
pub use files::raise_file_limit;
pub use handle::{Alive, ConnectionInfo, Handle, Runtime, Stats};
pub use hooks::{Answer, Hooks};
pub use host::{CUT, Host, LAST_WORDS, Link};
pub use lines::Lines;
pub use listen::{Listen, TcpOptions, listen, tune};
pub use local::{Over, Publication, Subscription, Update};
pub use log::{Log, LogFilter, LogFormat, init_log};
pub use masked::Masked;
pub use memory::MemoryLimit;
pub use options::{OnConflict, Options, ThreadOptions, TimestampMode};
pub use program::{CHECK, REPLAY, Serve, check, command, config_of_header, main, replay};
pub use signals::on_stop_signal;
pub use totals::Totals;
pub use watch::{Protection, watch_memory};

/// Thirty-two random bytes for [`Server::new`](anabranch_core::conn::Core::new).
///
/// # Panics
/// If the system has no randomness to give, on which nothing secure could run.
pub fn random_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("the system gives random bytes");
    seed
}
