//! The program `anabranch-std`: a live RTMP server on blocking sockets and threads.

use std::process::ExitCode;

fn main() -> ExitCode {
    anabranch_program::main::<anabranch_std::Server>()
}
