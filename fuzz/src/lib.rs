//! What the fuzz targets do with an input. Each function asserts what must hold besides not to panic: the targets
//! themselves are one line each.

pub mod amf;
pub mod chunk;
pub mod client;
pub mod connection;
mod cuts;
pub mod directory;
pub mod flv;
pub mod formats;
pub mod handshake;
pub mod http;
pub mod message;
#[cfg(feature = "webrtc")]
#[path = "../../core/rtc/tests/support/payloads.rs"]
mod payloads;
#[path = "../../core/tests/support/playlist.rs"]
mod playlist;
pub mod policy;
pub mod preface;
pub mod relay;
#[cfg(not(feature = "libfuzzer"))]
pub mod replay;
#[cfg(feature = "webrtc")]
pub mod rtc;
pub mod scene;
pub mod session;
pub mod source;
mod time;
pub mod url;

/// Makes a target of a function of the input: for libFuzzer, or a program that runs over given inputs.
#[macro_export]
macro_rules! target {
    ($run:path) => {
        #[cfg(feature = "libfuzzer")]
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| $run(bytes));

        #[cfg(not(feature = "libfuzzer"))]
        fn main() -> std::process::ExitCode {
            $crate::replay::main($run)
        }
    };
}
