//! The commands of a check. All have transaction id 0, no command object, and one object as their argument.

use super::{DURATION, Throughput};
use crate::amf::{Object, Value};
use crate::command::Command;

pub(super) const START_PLAY: &str = "onSrsBandCheckStartPlayBytes";
pub(super) const STARTING_PLAY: &str = "onSrsBandCheckStartingPlayBytes";
pub(super) const PLAYING: &str = "onSrsBandCheckPlaying";
pub(super) const STOP_PLAY: &str = "onSrsBandCheckStopPlayBytes";
pub(super) const STOPPED_PLAY: &str = "onSrsBandCheckStoppedPlayBytes";
pub(super) const START_PUBLISH: &str = "onSrsBandCheckStartPublishBytes";
pub(super) const STARTING_PUBLISH: &str = "onSrsBandCheckStartingPublishBytes";
pub(super) const STOP_PUBLISH: &str = "onSrsBandCheckStopPublishBytes";
pub(super) const STOPPED_PUBLISH: &str = "onSrsBandCheckStoppedPublishBytes";
pub(super) const FINISHED: &str = "onSrsBandCheckFinished";
pub(super) const FINAL: &str = "finalClientPacket";

/// The largest encoded data packet. A property takes at most 3 + 2 bytes for its name and 3 + 48 for the text, the rest
/// of the command less than 64.
pub(super) const MAX_PLAYING_BYTES: usize = 16 * 1024;
const MAX_PROPERTIES: u32 = 291;

/// The text in a data packet.
const FILLER: &str = "measuring how fast this comes to you, ignore me.";

pub(super) fn start(name: &str, limit_kbps: u32) -> Command {
    let object = Object::new()
        .with("limit_kbps", limit_kbps)
        .with("duration_ms", number(DURATION.as_millis()))
        .with("interval_ms", 0.0);
    command(name, object)
}

/// The data packet at `index`: 1 property, 3, 5 and so on, so that a fast link soon gets large packets.
pub(super) fn playing(index: u32) -> Command {
    let count = index.saturating_mul(2).saturating_add(1).min(MAX_PROPERTIES);
    command(PLAYING, (0..count).map(|name| (name.to_string(), FILLER)).collect())
}

pub(super) fn stop(name: &str, measured: Throughput) -> Command {
    let object = Object::new()
        .with("duration_ms", number(DURATION.as_millis()))
        .with("interval_ms", 0.0)
        .with("duration_delta", number(measured.ms))
        .with("bytes_delta", number(measured.bytes));
    command(name, object)
}

/// The result. `end_ms` is the time since the check began.
pub(super) fn finished(end_ms: u128, play: Throughput, publish: Throughput) -> Command {
    let object = Object::new()
        .with("start_time", 0.0)
        .with("end_time", number(end_ms))
        .with("play_kbps", number(play.kbps()))
        .with("publish_kbps", number(publish.kbps()))
        .with("play_bytes", number(play.bytes))
        .with("publish_bytes", number(publish.bytes))
        .with("play_time", number(play.ms))
        .with("publish_time", number(publish.ms));
    command(FINISHED, object)
}

fn command(name: &str, object: Object) -> Command {
    Command::new(name, 0.0, Value::Null).with(object)
}

/// A quantity as an AMF number, at most 2^32 - 1. A check of a few seconds does not reach that.
fn number(quantity: impl Into<u128>) -> f64 {
    f64::from(u32::try_from(quantity.into()).unwrap_or(u32::MAX))
}
