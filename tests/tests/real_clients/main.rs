//! FFmpeg, rtmpdump, GStreamer and core's own client against both servers and core's examples, and that client against
//! nginx, over loopback. `tests/run` installs them.

mod bit_exactness;
mod capture;
mod core_client;
mod examples;
mod formats;
mod gstreamer;
mod hostile;
mod leaks;
mod log;
mod newcomer;
mod origins;
mod playing;
mod rtmps;
mod shutdown;
mod smol_examples;
mod stalled;
mod succession;
mod takeover;

use anabranch_tests::media::{Clip, Publication, assert_same_packets};
use anabranch_tests::program::Program;
use anabranch_tests::{Folder, TIMEOUT};

/// A few seconds in one group of pictures: however fast it is sent, a player that waits for it begins at its start.
const SHORT: Clip = Clip { picture: "testsrc2=size=320x180:rate=30", seconds: 4, gop: 300, megabits: None };

/// Checks that a stream passes from a publisher to a player.
fn assert_serves(server: &mut Program) {
    let folder = Folder::new();
    let player = server.ffprobe("live/proof");
    server.wait_players("live/proof", 1);
    let publisher = Publication::at_once(server, "live/proof", &SHORT, &folder);
    publisher.process.wait_success(TIMEOUT);
    player.wait_success(TIMEOUT);
    assert_same_packets(&publisher.sent, &player);
}
