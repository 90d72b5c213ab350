//! The program `anabranch`: a live RTMP server.

use std::process::ExitCode;

fn main() -> ExitCode {
    anabranch_host::main::<anabranch_smol::Server>()
}
