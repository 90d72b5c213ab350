//! FFmpeg, rtmpdump, GStreamer and core's own client against both servers and core's examples, and that client against
//! nginx, over loopback. `tests/run` installs them.

/// Makes tests of functions that take a [`Runtime`](anabranch_tests::clients::Runtime), one for each server.
macro_rules! on_both_runtimes {
    ($($name:ident),+ $(,)?) => {
        mod on_smol {
            $(#[test] fn $name() { super::$name(anabranch_tests::clients::Runtime::Smol); })+
        }
        mod on_std {
            $(#[test] fn $name() { super::$name(anabranch_tests::clients::Runtime::Std); })+
        }
    };
}

mod bit_exactness;
mod capture;
mod core_client;
mod examples;
mod gstreamer;
mod hostile;
mod leaks;
mod newcomer;
mod playing;
mod rtmps;
mod shutdown;
mod stalled;
mod succession;
mod takeover;

use anabranch_tests::clients::{Clip, Folder, PATIENCE, Publication, Server, assert_same_packets};

/// A few seconds in one group of pictures: however fast it is sent, a player that waits for it begins at its start.
const SHORT: Clip = Clip { picture: "testsrc2=size=320x180:rate=30", seconds: 4, gop: 300, megabits: None };

/// Checks that a stream passes from a publisher to a player.
fn assert_serves(server: &mut Server) {
    let folder = Folder::new();
    let mut player = server.ffprobe("live/proof");
    server.wait_players("live/proof", 1);
    let mut publisher = Publication::at_once(server, "live/proof", &SHORT, &folder);
    publisher.process.wait_success(PATIENCE);
    player.wait_success(PATIENCE);
    assert_same_packets(&publisher.sent, &player);
}
