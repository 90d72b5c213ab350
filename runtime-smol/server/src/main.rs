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

/// Gives freed memory back to the system within seconds. glibc keeps most freed memory that lies between live objects.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    program::main()
}
