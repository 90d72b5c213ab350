//! FFmpeg 9, OBS Studio, mpv, VLC and aiortc against the server, and a store that speaks S3, over loopback.
//! `tests/run --all-clients` installs them; a plain `cargo test` leaves this out. librtmp as a publisher is among the tests
//! that always run: GStreamer's rtmpsink is it.

mod aiortc;
mod codecs;
mod ffmpeg_9;
mod hashes;
mod hls;
mod moto;
mod mpv;
mod obs;
mod obs_control;
mod tracks;
mod vlc;
mod whip;

use anabranch_tests::media::Clip;

/// Longer than any test plays; each ends its publisher.
const LONG: Clip = Clip { picture: "testsrc2=size=320x180:rate=30", seconds: 60, gop: 30, megabits: None };
