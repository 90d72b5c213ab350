//! The program `anabranch-std`: a live RTMP server on blocking sockets and threads.

use std::process::ExitCode;

/// Gives freed memory back to the system within seconds; glibc keeps most of what was freed between things that live.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    anabranch_program::main::<anabranch_std::Server>()
}
