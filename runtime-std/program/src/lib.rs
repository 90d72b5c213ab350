//! What the server programs share: options of the command line and of the environment, the log, signals, captures as files,
//! the subcommands `check` and `replay`, and the allocator.
//!
//! The servers themselves are libraries ([`anabranch_host`] and the crates of the runtimes) and need none of it.

#![forbid(unsafe_code)]

mod banner;
mod capture;
mod check;
mod explain;
mod faults;
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
mod variables;
mod watch;

pub use banner::Banner;
pub use capture::{
    CaptureChoice, CaptureFolder, CaptureLimits, CaptureTally, CaptureView, ChosenCaptures, ChosenFolder, ChosenLimits,
    FileEnd, FileView, LeftOut, NotBegun,
};
pub use check::Worst;
pub use explain::{EXPLAIN, explain};
pub use faults::{AddressFault, Fault, check_address, check_addresses, check_folder, file_cure};
pub use log::{Log, LogFilter, LogFormat, ShownAddresses, init_log};
pub use masked::Masked;
pub use memory::{MemoryLimit, available_memory};
pub use options::{OnConflict, Options, ThreadOptions, TimestampMode};
pub use program::{CHECK, REPLAY, command, config_of_header, main, replay};
pub use signals::on_stop_signal;
pub use variables::{UnknownVariable, unknown_variables};
pub use watch::{Protection, watch_memory};

/// Gives freed memory back to the system within seconds. glibc keeps most freed memory that lies between live objects.
///
/// It is here so that both programs have it, and because the calls of an allocator are compiled with its crate: the crate
/// `anabranch` is not optimized in the profile `release`.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
