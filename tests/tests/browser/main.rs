//! The pages of the program in real browsers: the console, each action of it, and the player.

mod codecs;
mod console;
mod dash;
mod hls;
mod keyboard;
mod player;
mod qualities;
mod safety;
mod strangers;
mod webrtc;

use anabranch_tests::program::{Launch, Program, Runtime};

/// The program with the API on a free port.
fn start(settings: &str) -> Program {
    Launch::of(Runtime::Smol).settings(&format!("[api]\nlisten = '127.0.0.1:0'\n{settings}")).start()
}

/// The address of a page on the port of the API.
fn page(program: &Program, path: &str) -> String {
    format!("http://{}{path}", program.api())
}
