//! What every Anabranch server program needs of its machine and shares with the others: the program's frame, command line
//! options, listening sockets, the log and its lines, signals. Nothing here knows which runtime serves the connections.

#![forbid(unsafe_code)]

mod accept;
mod banner;
mod listen;
mod log;
mod log_queue;
mod options;
mod program;
mod signals;

pub use accept::{AcceptErrors, interrupt_accept};
pub use banner::Banner;
pub use listen::{Listen, TcpOptions, listen, tune};
pub use log::{Lines, Log, init_log};
pub use options::{OnConflict, Options, TimestampMode};
pub use program::Program;
pub use signals::on_stop_signal;

/// Thirty-two random bytes for [`Server::new`](anabranch_core::conn::Server::new).
///
/// # Panics
/// If the system has no randomness to give, on which nothing secure could run.
pub fn random_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("the system gives random bytes");
    seed
}
